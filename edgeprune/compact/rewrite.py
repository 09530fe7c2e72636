"""Cut channels out of an exported graph: parameters, buffers, and every constant that speaks of a width."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

from torch import fx, nn

from edgeprune.compact import picks, sizes
from edgeprune.compact.branches import take_out_empty
from edgeprune.compact.keeps import Keeps
from edgeprune.compact.spread import spread_terms
from edgeprune.model.attributes import attribute, set_attribute
from edgeprune.model.operators import name_of
from edgeprune.model.provenance import Provenance


def cut(module: fx.GraphModule, found: Provenance, units: frozenset[int]) -> fx.GraphModule:
    """Return a copy of the graph without the given units. Its node names stay; export it again before use."""
    thin = copy.deepcopy(module)
    keeps = Keeps(found, units)
    slice_parameters(thin, found.axes, keeps)
    for node in list(thin.graph.nodes):
        rewrite = _REWRITES.get(name_of(node))
        if rewrite is not None:
            rewrite(node, keeps)
    take_out_empty(thin, keeps)
    thin.graph.lint()
    thin.recompile()
    return thin


def slice_parameters(module: nn.Module, names: Iterable[str], keeps: Keeps) -> None:
    """Cut the named parameters and buffers along their bound axes, in place."""
    for name in names:
        whole = attribute(module, name)
        tensor = whole
        for axis, mask in keeps.of_parameter(name).items():
            tensor = tensor.detach().index_select(axis, mask.nonzero().flatten().to(tensor.device))
        if tensor is not whole:
            tensor = tensor.contiguous()
            trained = whole.requires_grad
            set_attribute(module, name, nn.Parameter(tensor, trained) if isinstance(whole, nn.Parameter) else tensor)


_REWRITES: dict[str, Callable[[fx.Node, Keeps], None]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "expand"), sizes.resize),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk"), picks.split),
    **dict.fromkeys((f"conv{way}{n}d" for way in ("", "_transpose") for n in (1, 2, 3)), sizes.groups_of("groups")),
    **dict.fromkeys(("layer_norm", "rms_norm"), sizes.normalized_shape),
    "group_norm": sizes.groups_of("num_groups"),
    "channel_shuffle": sizes.groups_of("groups"),
    "scaled_dot_product_attention": sizes.attention_scale,
    "unflatten": sizes.unflatten,
    "slice": picks.slice_,
    "narrow": picks.narrow,
    "select": picks.select,
    "roll": picks.roll,
    "index_select": picks.index_select,
    "index": picks.index,
    "add": spread_terms,
    "pad": sizes.pad,
    "constant_pad_nd": sizes.pad,
}
"""By operator name."""
