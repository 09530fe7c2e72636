"""The shapes of a network's layers, as the device's table of layer times has them."""

from __future__ import annotations

from torch import fx

from edgeprune.model.attributes import attribute
from edgeprune.model.count import Layer, layers
from edgeprune.model.operators import arguments, convolution_arguments, name_of, per_axis, stored_operand
from edgeprune.model.shapes import Shapes, node_shapes
from edgeprune.model.traced import Traced
from edgeprune.spec.layer_costs import Family, LayerShape


def layer_shapes(traced: Traced, whole: Traced | None = None) -> tuple[LayerShape, ...]:
    """The layers that the table has a kind for; `whole`: the same network before anything was cut."""
    wide = {name: widths for name, _, widths in named_layers(whole)} if whole is not None else {}
    found = []
    for name, family, widths in named_layers(traced):
        if family is not None:
            dense = wide.get(name, widths)
            found.append(
                LayerShape(
                    name=name,
                    family=family,
                    inputs=widths[0],
                    outputs=widths[1],
                    whole_inputs=dense[0],
                    whole_outputs=dense[1],
                )
            )
    return tuple(found)


Widths = tuple[int, int]


def named_layers(traced: Traced, shapes: Shapes | None = None) -> list[tuple[str, Family | None, Widths]]:
    """Name, family, and inputs and outputs of every layer, in the order of `count.layers`.

    Names are those of the ONNX file: a second use of a weight has one of its own. The family is None, and the widths
    say nothing, where the table has none of its kind.
    """
    shapes = shapes or node_shapes(traced)
    nodes = {node.name: node for node in traced.module.graph.nodes}
    taken, found = set[str](), []
    for layer in layers(traced, shapes):
        name = layer.weight.removesuffix(".weight")
        while name in taken:
            name += "_"
        taken.add(name)
        family = _family(nodes[layer.node], layer, shapes)
        size = attribute(traced.module, layer.weight).shape if family is not None else (1, 1)
        found.append((name, family, (int(size[1]), int(size[0]))))
    return found


def _family(node: fx.Node, layer: Layer, shapes: Shapes) -> Family | None:
    name = name_of(node)
    if name == "conv2d":
        return _convolution(node, shapes)
    if name == "linear":
        return Family(op="linear", height=layer.reuse, width=1)
    return None


def _convolution(node: fx.Node, shapes: Shapes) -> Family | None:
    x, weight, _, groups = convolution_arguments(node)
    given = arguments(node)
    size = shapes.get(x.name, ())
    if len(size) != 4 or isinstance(given["padding"], str):
        return None
    stored = stored_operand(weight)
    assert stored is not None, "count.layers names layers with stored weights only"
    outputs, inputs, high, wide = shapes[stored.name]
    if groups != 1 and not (inputs == 1 and groups == outputs):
        return None
    stride, padding, dilation = (tuple(per_axis(given[key], 2)) for key in ("stride", "padding", "dilation"))
    return Family(
        op="conv" if groups == 1 else "depthwise",
        kernel=(high, wide),
        stride=stride,  # type: ignore[arg-type] # two each
        padding=padding,  # type: ignore[arg-type]
        dilation=dilation,  # type: ignore[arg-type]
        height=size[2],
        width=size[3],
    )
