"""Wide residual networks for CIFAR (Zagoruyko and Komodakis, arXiv:1605.07146), post-activation.

This is the variant of the Hessian-aware pruning papers (arXiv:2101.08940), with 1x1 projections: WRN-28-8 has
a stem of 16 channels, stages of 128, 256 and 512, and four blocks in each: 23,356,634 parameters at 10
classes.
State-dict names: `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.downsample.0`, ..., `linear`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STEM = 16


class Block(nn.Module):
    """Two 3x3 convolutions; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != width:
            projection = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class WideResNet(nn.Module):
    """Three stages of `units` blocks, `widen` times as wide as the CIFAR ResNets."""

    def __init__(self, units: int, widen: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        widths = [STEM * widen, 2 * STEM * widen, 4 * STEM * widen]
        self.conv1 = nn.Conv2d(in_channels, STEM, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(units, STEM, widths[0], 1)
        self.layer2 = _stage(units, widths[0], widths[1], 2)
        self.layer3 = _stage(units, widths[1], widths[2], 2)
        self.linear = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.linear(x)
        return logits


def _stage(units: int, inputs: int, width: int, stride: int) -> nn.Sequential:
    first = Block(inputs, width, stride)
    return nn.Sequential(first, *(Block(width, width, 1) for _ in range(units - 1)))
