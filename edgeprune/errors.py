"""The one fault that is shown without a traceback."""

from __future__ import annotations


class EdgepruneError(Exception):
    """A fault that the user can mend; its text is one line: what is wrong, then what to do."""
