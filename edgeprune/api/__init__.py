"""The Python API: the command line's verbs, for notebooks and scripts."""
