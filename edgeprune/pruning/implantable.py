"""Where a neural implant can go: convolutions whose output channels a 1x1 convolution could make instead.

Such a convolution has a kernel with more than one tap, no groups, and its padding laid evenly: a 1x1 convolution of
the same stride without padding then looks at the middle of each window and has the same output size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from edgeprune.model.attributes import attribute
from edgeprune.model.count import layers
from edgeprune.model.operators import arguments, name_of, only_reader, per_axis
from edgeprune.model.provenance import Provenance
from edgeprune.model.traced import Traced

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})


@dataclass(frozen=True)
class Site:
    """One such convolution, and where the cost model speaks of it."""

    taps: int
    """Weights per pair of input and output channel."""
    outputs: int
    use: int
    """Its row in `Cost.uses`."""
    parameter: int
    """Its weight's row in `Cost.parameters`."""


Sites = dict[str, Site]
"""By the weight's name."""


def sites(traced: Traced, found: Provenance) -> Sites:
    """The convolutions of a network that can take an implant."""
    uses = {layer.node: row for row, layer in enumerate(layers(traced, found.shapes))}
    rows = {name: row for row, (name, _) in enumerate(traced.module.named_parameters())}
    able: Sites = {}
    for node in traced.module.graph.nodes:
        if name_of(node) not in CONVOLUTIONS or node.name not in uses:
            continue
        weight = arguments(node)["weight"]
        if not _takes_one(traced.module, node) or found.weights.get(str(weight.target)) != 0:
            continue
        shape = attribute(traced.module, str(weight.target)).shape
        able[str(weight.target)] = Site(math.prod(shape[2:]), shape[0], uses[node.name], rows[str(weight.target)])
    return able


def _takes_one(module: nn.Module, node: fx.Node) -> bool:
    given = arguments(node)
    own = only_reader(given["weight"]) and (given["bias"] is None or only_reader(given["bias"]))
    if not own or given["groups"] != 1:
        return False
    weight = attribute(module, str(given["weight"].target))
    kernel = weight.shape[2:]
    return isinstance(weight, nn.Parameter) and math.prod(kernel) > 1 and _centred(given, tuple(kernel))


def _centred(given: dict[str, Any], kernel: tuple[int, ...]) -> bool:
    """Whether half of what the kernel reaches is padded on either side of each axis."""
    spans = [step * (size - 1) for step, size in zip(per_axis(given["dilation"], len(kernel)), kernel, strict=True)]
    if isinstance(given["padding"], str):
        return given["padding"] == "same" and all(span % 2 == 0 for span in spans)
    return [2 * side for side in per_axis(given["padding"], len(kernel))] == spans
