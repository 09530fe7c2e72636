"""From a command's options to the settings of INT8."""

from __future__ import annotations

from typing import Any

from edgeprune.errors import EdgepruneError

NAMES = {
    "ranges": "ranges",
    "int8_max_drop": "max_drop",
    "adaround": "rounding_steps",
    "learned_scales": "learned_scales",
    "equalize": "equalize",
    "int8_anyway": "anyway",
}
"""Option -> setting."""


def int8_settings(options: dict[str, Any]) -> dict[str, Any]:
    """What was given of them.

    Raises:
        EdgepruneError: the network stays in float.
    """
    content = {name: options[option] for option, name in NAMES.items() if options[option] not in (None, False)}
    if options["int8_keep"]:
        kept = options["int8_keep"]
        content["keep"] = (kept,) if isinstance(kept, str) else tuple(kept)
    if content and options["fp32"]:
        raise EdgepruneError("--fp32 makes no INT8, so there is nothing to set of it. Leave one of them out.")
    return content
