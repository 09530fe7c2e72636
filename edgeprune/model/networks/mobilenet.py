"""MobileNetV2 (Sandler et al., arXiv:1801.04381, table 2), with torchvision's names.

State-dict names: `features.0.0`, `features.1.conv.0.0`, ..., `features.18.0`, `classifier.1`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, blocks, and the stride of the first of them."""
STEM, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel by a 3x3, project by a 1x1 without an activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        expand = [_unit(inputs, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _unit(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """A 3x3 stem, seven stages of inverted residuals, a 1x1 convolution to 1280 channels."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [_unit(in_channels, STEM, 3, 2)]
        inputs = STEM
        for expansion, outputs, blocks, stride in STAGES:
            for number in range(blocks):
                parts.append(InvertedResidual(inputs, outputs, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*parts, _unit(inputs, LAST, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm and ReLU6."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())
