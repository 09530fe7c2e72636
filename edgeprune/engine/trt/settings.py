"""What a user may say about a build."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, model_validator

from edgeprune.errors import EdgepruneError
from edgeprune.spec.strict import Strict


class ShapeRange(Strict):
    """Images per call: the fewest, those that kernels are chosen for, and the most."""

    least: int = Field(default=1, ge=1)
    best: int = Field(default=1, ge=1)
    most: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> ShapeRange:
        if not self.least <= self.best <= self.most:
            raise ValueError("the fewest, the usual and the most images must rise, as 1:8:32")
        return self

    @property
    def fixed(self) -> bool:
        return self.least == self.most

    def __str__(self) -> str:
        return f"{self.least}:{self.best}:{self.most}"


def parse_range(text: str) -> ShapeRange:
    """Read `8` or `1:8:32`.

    Raises:
        EdgepruneError: it is neither.
    """
    if not re.fullmatch(r"\d+(:\d+:\d+)?", text):
        raise EdgepruneError(f"--shape-range {text}: give images per call, as 8, or fewest:usual:most, as 1:8:32.")
    numbers = [int(part) for part in text.split(":")]
    least, best, most = numbers * 3 if len(numbers) == 1 else numbers
    if not 1 <= least <= best <= most:
        raise EdgepruneError(f"--shape-range {text}: fewest, usual and most images must rise from 1 on, as 1:8:32.")
    return ShapeRange(least=least, best=best, most=most)


class BuildSettings(Strict):
    """Everything that decides a plan, besides the model, the device and TensorRT itself."""

    batch: ShapeRange = ShapeRange()
    workspace_mb: int | None = Field(default=None, ge=1)
    """Memory that kernels may use besides weights and activations; None: TensorRT's default, the whole device."""
    fp16: bool = True
    """What is not INT8 may run in half precision."""
    int8: bool = True
    """The model has quantizers."""
    sparse: bool = False
    """Try kernels for 2:4 weights too."""
    strip_weights: bool = False
    """A plan without weights, which are put in from the ONNX file when it is loaded."""
    version_compatible: bool = False
    """A plan that later releases of the same major version run too."""
    outside_kernels: bool = True
    """False: none of cuBLAS and cuDNN, where they are not there in full."""

    def content(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
