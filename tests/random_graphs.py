"""Networks put together at random from the operators that exported graphs contain, for property tests.

A program is a list of (kind of step, seed): hypothesis shortens it to the steps that a fault needs. A step sees the
tensor so far, `[n, channels, 8, 8]` or half of that, and all earlier tensors of the same picture size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tests import random_steps, random_tokens
from tests.random_steps import SIDE, Here, conv_of

SHAPE = (3, SIDE, SIDE)
STEPS = random_steps.STEPS | random_tokens.STEPS
Program = Sequence[tuple[str, int]]


class Assembled(nn.Module):
    """A stem, the steps of a program, and a classifier over means or over all pixels."""

    def __init__(self, program: Program, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.stem = conv_of(draw, SHAPE[0], draw.randrange(8, 25, 4))
        self.steps = nn.ModuleList()
        x = torch.randn(2, *SHAPE)
        with torch.no_grad():
            x = self.stem(x)
            past = [x]
            for kind, own in program:
                here = Here([(p.shape[1], p.shape[2]) for p in past])
                step = STEPS[kind](random.Random(own), here)
                x = step(x, past)
                self.steps.append(step)
                past.append(x)
        self.flat = draw.random() < 0.4
        self.head = nn.Linear(x[0].numel() if self.flat else x.shape[1], 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        past = [x]
        for step in self.steps:
            x = step(x, past)
            past.append(x)
        return self.head(x.flatten(1) if self.flat else x.mean((2, 3)))


def assemble(program: Program, seed: int) -> nn.Module:
    """Build a program's network in eval mode, its norms far from the identity."""
    torch.manual_seed(seed)
    module = Assembled(program, seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
        if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            nn.init.normal_(part.bias)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return module.eval()
