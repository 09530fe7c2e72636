"""TensorRT's releases: which are spoken here, and what each of them wants."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeprune.errors import EdgepruneError

OLDEST, NEWEST_MAJOR = (8, 5), 11
STRONG = (10, 12)
"""From here on NVIDIA's documentation has networks state their types; in 11 there is nothing else."""
OPSETS = ((8, 17), (10, 20))
"""Major release -> the newest opset that its parser takes (onnx-tensorrt, docs/operators.md)."""


@dataclass(frozen=True, order=True)
class Release:
    """A version of TensorRT, as 10.3.0.30; a plan runs on exactly the one that built it."""

    major: int
    minor: int
    patch: int = 0
    build: int = 0

    def __str__(self) -> str:
        build = f".{self.build}" if self.build else ""  # JetPack's bindings do not tell it
        return f"{self.major}.{self.minor}.{self.patch}{build}"

    @property
    def short(self) -> tuple[int, int]:
        return self.major, self.minor

    @property
    def strongly_typed(self) -> bool:
        """Whether a network's own types decide, and not the builder's flags."""
        return self.short >= STRONG

    @property
    def newest_opset(self) -> int:
        return next(opset for major, opset in reversed(OPSETS) if self.major >= major)


def parse_release(text: str) -> Release:
    """Read `tensorrt.__version__`.

    Raises:
        EdgepruneError: it is none, or one that is not supported.
    """
    numbers = [int(part) for part in re.findall(r"\d+", text)[:4]]
    if len(numbers) < 2:
        raise EdgepruneError(f"TensorRT calls itself {text!r}, which is no version. Install it again.")
    release = Release(*numbers)
    if release.short < OLDEST or release.major > NEWEST_MAJOR:
        raise EdgepruneError(
            f"TensorRT {text} is not supported; {OLDEST[0]}.{OLDEST[1]} to {NEWEST_MAJOR}.x are. Install one of those."
        )
    return release
