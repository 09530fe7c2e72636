"""Multiply-adds, against PyTorch's own flop counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.model.count import macs
from edgeprune.model.traced import trace
from tests.zoo import SHAPE, ZOO, build


@pytest.mark.parametrize("name", list(ZOO))
def test_multiply_adds_are_half_of_torch_s_flops(name: str) -> None:
    traced = trace(build(name), SHAPE)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        traced.module(traced.example(batch=1))
    assert macs(traced) == counter.get_total_flops() / 2
