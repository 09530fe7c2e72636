"""`python -m edgeprune` is the command `edgeprune`."""

from edgeprune.cli import main

main()
