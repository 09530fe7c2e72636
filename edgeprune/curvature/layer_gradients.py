"""Gradients of single images by a layer's weight, from what the layer reads and the gradient of what it puts out.

A convolution is a linear layer on the patches that its kernel covers: with U `[K, P]` an image's patches (K weights
per output channel, P positions) and D `[O, P]` the outputs' gradient, the weight's gradient is `D U'` `[O, K]`.
Layers whose weight one node alone reads, with images along the first axis of what they read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from edgeprune.model.operators import arguments, name_of, only_reader, per_axis
from edgeprune.model.shapes import Shapes
from edgeprune.model.traced import Traced

aten = torch.ops.aten
MANY = 256
"""Positions from which a convolution on the CPU is faster as one grouped convolution than by patches."""
AT_ONCE = 16 * 2**20
"""Elements of patches or gradients that are held at a time, beside the network's own."""


@dataclass(frozen=True)
class Geometry:
    """How a layer reads: of a linear layer, as a 1x1 convolution."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)


@dataclass(frozen=True)
class SimpleLayer:
    """A layer that formulas of this module cover."""

    node: str
    weight: str
    linear: bool
    geometry: Geometry


def simple_layers(traced: Traced, shapes: Shapes, weights: Sequence[str]) -> list[SimpleLayer]:
    """Those of the named weights that `conv1d`, `conv2d` or `linear` nodes read directly, one node each."""
    found = []
    for node in traced.module.graph.nodes:
        if name_of(node) not in {"conv1d", "conv2d", "linear"}:
            continue
        given = arguments(node)
        weight, x = given["weight"], given["input"]
        name = str(weight.target) if weight.op == "get_attr" else ""
        if name not in weights or not only_reader(weight) or shapes[x.name][0] != 1 or len(shapes[x.name]) < 2:
            continue
        geometry = _geometry(given, shapes[weight.name])
        if geometry is not None:
            found.append(SimpleLayer(node.name, name, name_of(node) == "linear", geometry))
    return found


def _geometry(given: dict[str, Any], weight: tuple[int, ...]) -> Geometry | None:
    if "stride" not in given:
        return Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1)
    if isinstance(given["padding"], str):  # "same", which may be uneven
        return None
    kernel, stride, padding, dilation = (
        _pair(list(value), 1 - zero, len(weight) - 2)
        for value, zero in (
            (weight[2:], 0), (given["stride"], 0), (given["padding"], 1), (given["dilation"], 0)
        )
    )  # fmt: skip
    return Geometry(kernel, stride, padding, dilation, given["groups"])


def _pair(values: list[int], neutral: int, axes: int) -> tuple[int, int]:
    """Of a one-dimensional convolution: as one over pictures of height 1."""
    values = per_axis(values, axes)
    return (neutral, values[0]) if axes == 1 else (values[0], values[1])


class Watched(fx.Interpreter):
    """Runs a graph, and keeps what some layers read and put out; outputs can be differentiated by the latter."""

    def __init__(self, module: fx.GraphModule, watched: Sequence[str]) -> None:
        super().__init__(module)
        self._watched = frozenset(watched)
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.name not in self._watched:
            return super().run_node(n)
        args, _ = self.fetch_args_kwargs_from_env(n)
        value = super().run_node(n)
        if not value.requires_grad:
            value = value.detach().requires_grad_()
        self.inputs[n.name], self.outputs[n.name] = args[0].detach(), value
        return value


def channel_norms(layer: SimpleLayer, x: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    """Squared norm of each image's gradient by the weights of each output channel: `[r, n, out]`, float32 at least.

    `x`: what the layer reads, `[n, ...]`; `gradients`: of what it puts out, `[n, ...]` for each of r cotangents. Three
    ways to the same numbers, by what they cost: `D U'` by patches; the same as one grouped convolution; or without the
    gradient itself from `U' U` `[P, P]` (Li et al. 2022, arXiv 2110.05679, section 4), where positions are few.
    """
    x, pictures = as_pictures(layer, x), [as_pictures(layer, g) for g in gradients]
    rounds, (images, out), geometry = len(pictures), pictures[0].shape[:2], layer.geometry
    places = pictures[0].shape[2:].numel()
    patch = x.shape[1] // geometry.groups * geometry.kernel[0] * geometry.kernel[1]
    each = rounds * out // geometry.groups
    few = places * (patch + each) < each * patch
    if not few and not geometry.pointwise and places >= MANY and x.device.type == "cpu":
        return torch.stack([_grouped(geometry, x, g) for g in pictures])
    held = max(geometry.groups * patch * places, rounds * out * (places if few else patch), 1)
    stacked, found = torch.stack(pictures), []
    for part in range(0, images, max(1, AT_ONCE // held)):
        piece = slice(part, part + max(1, AT_ONCE // held))
        patches, slopes = _unfolded(geometry, x[piece]), _by_group(geometry, stacked[:, piece])
        if few:
            # ||d U'||^2 = d (U' U) d', for each row d of D; no scale of D keeps U' U within half precision
            patches, slopes = wide(patches), wide(slopes)
            norms = ((slopes @ (patches.transpose(-1, -2) @ patches)) * slopes).sum(-1)
        else:
            norms = wide(slopes @ patches.transpose(-1, -2)).square().sum(-1)
        found.append(norms.unflatten(2, (rounds, -1)).permute(2, 0, 1, 3).flatten(2))
    return torch.cat(found, 1)


def image_gradients(layer: SimpleLayer, x: Tensor, gradients: Tensor, shape: torch.Size) -> Iterator[Tensor]:
    """Each image's gradient by the weight of that shape, `[m, *shape]` for m images at a time.

    `x`: what the layer reads, `[n, ...]`; `gradients`: of what it puts out, `[n, ...]`.
    """
    x, picture, geometry = as_pictures(layer, x), as_pictures(layer, gradients), layer.geometry
    held = max(shape.numel(), geometry.groups * shape[1:].numel() * picture.shape[2:].numel())
    for part in range(0, len(x), max(1, AT_ONCE // held)):
        piece = slice(part, part + max(1, AT_ONCE // held))
        slopes = _by_group(geometry, picture[None, piece])
        yield (slopes @ _unfolded(geometry, x[piece]).transpose(-1, -2)).reshape(-1, *shape)


def wide(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def as_pictures(layer: SimpleLayer, tensor: Tensor) -> Tensor:
    """`[n, C, H, W]`: positions of a linear layer are a picture of height 1."""
    if layer.linear:
        tensor = tensor.reshape(len(tensor), -1, tensor.shape[-1]).transpose(1, 2)
    return tensor.unsqueeze(2) if tensor.dim() == 3 else tensor


def unfolded(layer: SimpleLayer, x: Tensor) -> Tensor:
    """The patches that a layer's kernel covers, `[n, groups, K, P]`."""
    return _unfolded(layer.geometry, as_pictures(layer, x))


def _unfolded(geometry: Geometry, x: Tensor) -> Tensor:
    """Patches `[n, groups, K, P]`."""
    if geometry.pointwise:
        flat = x.flatten(2)
    else:
        flat = functional.unfold(x, geometry.kernel, geometry.dilation, geometry.padding, geometry.stride)
    patches: Tensor = flat.unflatten(1, (geometry.groups, -1))
    return patches


def _by_group(geometry: Geometry, gradients: Tensor) -> Tensor:
    """`[r, n, O, *positions]` as `[n, groups, r * O / groups, P]`."""
    split: Tensor = gradients.flatten(3).unflatten(2, (geometry.groups, -1))
    return split.permute(1, 2, 0, 3, 4).flatten(2, 3)


def _grouped(geometry: Geometry, x: Tensor, gradients: Tensor) -> Tensor:
    """`[n, out]`: all images side by side as groups of one convolution, whose weight gradient is that of each image."""
    images, out = gradients.shape[:2]
    like = x.new_zeros(()).expand(images * out, x.shape[1] // geometry.groups, *geometry.kernel)
    _, found, _ = aten.convolution_backward(
        gradients.reshape(1, -1, *gradients.shape[2:]), x.reshape(1, -1, *x.shape[2:]), like, None,
        geometry.stride, geometry.padding, geometry.dilation, False, [0, 0], images * geometry.groups,
        [False, True, False],
    )  # fmt: skip
    return wide(found).flatten(1).square().sum(1).view(images, out)
