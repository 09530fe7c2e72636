"""Labels through shape operators: the operator itself is run on the labels."""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
from torch import Tensor, fx

from edgeprune.model.flow import Flow
from edgeprune.model.labels import thin
from edgeprune.model.operators import arguments, name_of

aten = torch.ops.aten


def run(flow: Flow, node: fx.Node) -> Any:
    """Run the operator on the labels; a view of labels spread without memory is a reshape."""
    reshaping = {aten.view.default, aten._unsafe_view.default}
    operator_ = aten.reshape.default if node.target in reshaping else node.target
    assert callable(operator_)
    found = operator_(*flow.value(node.args), **{key: flow.value(item) for key, item in node.kwargs.items()})
    if isinstance(found, Tensor):
        return thin(found)
    return [thin(part) for part in found] if isinstance(found, (list, tuple)) else found


def item(flow: Flow, node: fx.Node) -> Any:
    """One of several results; of an operator that was frozen there is no list of them."""
    source, index = flow.value(node.args[0]), cast(int, node.args[1])
    return source[index] if isinstance(source, (list, tuple)) else flow.frozen_like(node)


def indexed(flow: Flow, node: fx.Node) -> Any:
    """Picking by an index tensor that is known; one that depends on the image freezes what it picks from."""
    given = arguments(node)
    indices = given["indices"] if name_of(node) == "index" else [given["index"]]
    known: list[Tensor | None] = []
    for index in indices:
        if index is None:
            known.append(None)
        elif isinstance(index, fx.Node) and index.op == "get_attr":
            known.append(flow.tensor(str(index.target)).cpu())
        else:
            return flow.freeze(node, "it picks by an index that depends on the image")
    labels = flow.value(given["self"])
    if name_of(node) == "index":
        return thin(aten.index.Tensor(labels.contiguous(), known))
    assert known[0] is not None
    return thin(labels.index_select(given["dim"], known[0]))


SCALARS = (
    operator.mul, operator.add, operator.sub, operator.floordiv, operator.truediv, operator.mod, operator.pow,
    operator.neg,
)  # fmt: skip
"""Arithmetic on sizes."""
