"""Parameters and buffers of a module tree by their dotted names."""

from __future__ import annotations

from torch import Tensor, nn


def attribute(module: nn.Module, name: str) -> Tensor:
    """The tensor of that name (a graph's `get_attr` may also name a module: only then it is none)."""
    owner, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(owner), leaf)  # type: ignore[no-any-return]


def set_attribute(module: nn.Module, name: str, value: Tensor) -> None:
    """Store a parameter or, for a plain tensor, a buffer; in the place of what has this name."""
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    if hasattr(owner, leaf):
        delattr(owner, leaf)
    if isinstance(value, nn.Parameter):
        owner.register_parameter(leaf, value)
    else:
        owner.register_buffer(leaf, value)


def free_name(module: nn.Module, wanted: str) -> str:
    """The wanted name, or the first of it with a number behind that is new."""
    owner, _, leaf = wanted.rpartition(".")
    free, count = leaf, 1
    while hasattr(module.get_submodule(owner), free):
        count += 1
        free = f"{leaf}_{count}"
    return f"{owner}.{free}" if owner else free
