"""In which weights a network's outputs are piecewise linear.

With one layer's weights free, a network of convolutions, ReLUs and maxima is piecewise linear in them: the outputs'
second derivative by those weights is zero almost everywhere, and their block of the loss's Hessian is exactly that of
the Gauss-Newton matrix, `J' S J`. Its traces need no product with a Hessian (`logits`).
"""

from __future__ import annotations

from torch import fx

from edgeprune.model.operators import VIEWS, name_of
from edgeprune.model.traced import Traced

LINEAR = VIEWS | {
    "add", "sub", "neg", "rsub", "mean", "sum", "cat", "stack", "pad", "constant_pad_nd", "split", "split_with_sizes",
    "chunk", "unbind", "roll", "flip", "index_select", "index", "clone", "to", "dropout", "feature_dropout",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "upsample_nearest2d", "upsample_bilinear2d", "getitem",
    "_unsafe_view", "movedim", "im2col", "sym_size",
}  # fmt: skip
BENT = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "clamp", "clamp_min", "clamp_max", "threshold", "abs", "amax", "max",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d", "maximum", "minimum",
})  # fmt: skip
"""Piecewise linear."""
BILINEAR = frozenset({"mul", "matmul", "mm", "bmm", "linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d"})
"""Linear in one operand while the others do not depend on the weight."""


def piecewise_linear(traced: Traced, layer: str) -> bool:
    """Whether the outputs are piecewise linear in the weight of the layer at a node, read by that node alone."""
    moved: set[fx.Node] = set()
    for node in traced.module.graph.nodes:
        if node.name == layer:
            moved.add(node)
            continue
        touched = [source for source in node.all_input_nodes if source in moved]
        if not touched or node.op == "output":
            continue
        if not _keeps_linear(node, touched):
            return False
        moved.add(node)
    return True


def _keeps_linear(node: fx.Node, touched: list[fx.Node]) -> bool:
    name = name_of(node) or getattr(node.target, "__name__", "")
    if name in LINEAR or name in BENT:
        return True
    if name == "batch_norm":  # in eval mode; by statistics of the batch it is none
        return touched == [node.args[0]] and node.args[5] is False
    operands = [argument for argument in node.args if argument in touched]
    if name in {"div", "prelu"}:
        return operands == [node.args[0]]
    return name in BILINEAR and len(operands) == 1
