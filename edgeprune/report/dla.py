"""Which layers a DLA could run, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def dla_lines(layers: Sequence[Mapping[str, str | None]], needs: Sequence[str]) -> list[str]:
    """Lines for people; each layer has `name`, `op` and `reason`, None where a DLA could run it."""
    fitting = sum(layer["reason"] is None for layer in layers)
    lines = [f"{fitting} of {len(layers)} layers fit a DLA by NVIDIA's restrictions; nothing is built for one here."]
    lines += [
        f"  {layer['name']} ({layer['op']}): {layer['reason']}" for layer in layers if layer["reason"] is not None
    ]
    return [*lines, "What it would need:", *(f"  {need}" for need in needs)]
