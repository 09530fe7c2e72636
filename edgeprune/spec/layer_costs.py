"""LayerCosts: what layers of which shape take on a device, measured; and the shapes themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgeprune.spec.strict import Strict

Pair = tuple[int, int]


class Family(Strict):
    """A layer but for its widths. A linear layer has `height` rows and 1 for all else."""

    op: Literal["conv", "depthwise", "linear"]
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    """Of the layer's input."""

    @property
    def places(self) -> Pair:
        """Height and width of the output."""
        sides = zip((self.height, self.width), self.kernel, self.stride, self.padding, self.dilation, strict=True)
        high, wide = ((side + 2 * pad - gap * (k - 1) - 1) // step + 1 for side, k, step, pad, gap in sides)
        return high, wide

    @property
    def reuse(self) -> int:
        """How often each weight is used for one image."""
        high, wide = self.places
        return high * wide

    def macs(self, inputs: int, outputs: int) -> int:
        """Multiply-adds of one image."""
        taken = 1 if self.op == "depthwise" else inputs
        return taken * outputs * self.kernel[0] * self.kernel[1] * self.reuse

    def __str__(self) -> str:
        if self.op == "linear":
            return f"linear on {self.height} rows"
        kernel, stride = "x".join(map(str, self.kernel)), "x".join(map(str, self.stride))
        return f"{self.op} {kernel}, stride {stride}, of {self.height}x{self.width}"


class LayerShape(Strict):
    """A layer of a network: its family, its widths, and those that it had before anything was cut."""

    name: str
    family: Family
    inputs: int = Field(ge=1)
    outputs: int = Field(ge=1)
    whole_inputs: int = Field(ge=1)
    whole_outputs: int = Field(ge=1)
    aliases: tuple[str, ...] = ()
    """What a runtime may call it by: its output, or a node behind it that it was fused with."""


class Grid(Strict):
    """Milliseconds of one image of a family: a row per `inputs`, a column per `outputs`, both ascending."""

    family: Family
    inputs: tuple[int, ...] = Field(min_length=1)
    outputs: tuple[int, ...] = Field(min_length=1)
    ms: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _sound(self) -> Grid:
        for axis in (self.inputs, self.outputs):
            if list(axis) != sorted(set(axis)) or axis[0] < 1:
                raise ValueError("widths must ascend from 1")
        shapes = {len(self.ms) == len(self.inputs), *(len(row) == len(self.outputs) for row in self.ms)}
        if shapes != {True} or not all(ms > 0 for row in self.ms for ms in row):
            raise ValueError("ms needs a positive time for each pair of widths")
        return self


class LayerCosts(Strict):
    """Grids that one device measured with one runtime."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    target: str
    device: str
    processor: str
    precision: str
    runtime: str
    threads: int
    date: str
    edgeprune_version: str
    multiple: int = Field(ge=1)
    """Of widths, that the runtime prefers; the grids hold some between, to tell what those cost."""
    rounds: int
    """Each shape was timed so often; the least counts."""
    grids: tuple[Grid, ...]
