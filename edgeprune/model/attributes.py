"""Parameters and buffers of a module tree by their dotted names."""

from __future__ import annotations

from torch import Tensor, nn


def attribute(module: nn.Module, name: str) -> Tensor:
    owner, _, leaf = name.rpartition(".")
    value = getattr(module.get_submodule(owner), leaf)
    assert isinstance(value, Tensor)
    return value


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
    """The wanted name, with as many `_` behind it as it takes to be new."""
    owner, _, leaf = wanted.rpartition(".")
    while hasattr(module.get_submodule(owner), leaf):
        leaf += "_"
    return f"{owner}.{leaf}" if owner else leaf
