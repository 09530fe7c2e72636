"""What a build's log says of sparsity: which layers have 2:4 weights, and for which a sparse kernel was faster.

TensorRT writes both lists at the end of a build with SPARSE_WEIGHTS, at its INFO level: `(Sparsity) Layers eligible
for sparse math: ...` and `(Sparsity) TRT inference plan picked sparse implementation for layers: ...` (NVIDIA,
TensorRT Developer Guide, "Structured Sparsity"). The second is often empty: dense kernels may be faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ELIGIBLE = re.compile(r"\(Sparsity\) Layers eligible for sparse math:\s*(.*)", re.DOTALL)
PICKED = re.compile(r"\(Sparsity\).*picked sparse implementation for layers:\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Sparsity:
    """Names of the engine's layers."""

    eligible: list[str]
    picked: list[str]


def read_sparsity(lines: Iterable[str]) -> Sparsity | None:
    """Both lists; None where the log has neither, as without SPARSE_WEIGHTS."""
    eligible: list[str] | None = None
    picked: list[str] | None = None
    for line in lines:
        if found := ELIGIBLE.search(line):
            eligible = _names(found[1])
        elif found := PICKED.search(line):
            picked = _names(found[1])
    return None if eligible is None and picked is None else Sparsity(eligible or [], picked or [])


def _names(text: str) -> list[str]:
    """Split at commas, but not at those inside a fusion's name, as `PWN(PWN(a), b)`."""
    names, depth, current = [], 0, ""
    for letter in " ".join(text.split()):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            names.append(current.strip())
            current = ""
        else:
            current += letter
    return [name for name in (*names, current.strip()) if name]
