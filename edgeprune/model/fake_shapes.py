"""Shapes of torch's fake-quantize operator, which torch 2.13 cannot export with a dynamic batch without them."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

OPERATOR = "aten::fake_quantize_per_tensor_affine_cachemask"


@functools.cache
def teach_fake_quantize_shapes() -> None:
    """Tell torch.export what the operator returns; does nothing from the second call on."""
    if torch._C._dispatch_has_kernel_for_dispatch_key(OPERATOR, "Meta"):
        return  # a torch that knows by itself
    torch.library.register_fake(OPERATOR)(_shapes)


def _shapes(x: Tensor, _scale: float, _zero_point: int, _low: int, _high: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
