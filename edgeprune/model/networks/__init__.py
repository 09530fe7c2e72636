"""The built-in networks, by the name that MODEL takes on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from edgeprune.model.networks.cifar_resnet import CifarResNet
from edgeprune.model.networks.mobilenet import MobileNetV2
from edgeprune.model.networks.resnet import BasicBlock, Bottleneck, ResNet
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.networks.wide_resnet import WideResNet


@dataclass(frozen=True)
class Network:
    """A built-in network: `build(num_classes, in_channels)`, and the side of the input and classes it was made for."""

    build: Callable[[int, int], nn.Module]
    image_size: int
    classes: int


NETWORKS: dict[str, Network] = {
    "resnet20": Network(partial(CifarResNet, 3), 32, 10),
    "resnet32": Network(partial(CifarResNet, 5), 32, 10),
    "resnet56": Network(partial(CifarResNet, 9), 32, 10),
    "wrn-28-8": Network(partial(WideResNet, 4, 8), 32, 10),
    "resnet18": Network(partial(ResNet, BasicBlock, (2, 2, 2, 2)), 224, 1000),
    "resnet50": Network(partial(ResNet, Bottleneck, (3, 4, 6, 3)), 224, 1000),
    "mobilenet_v2": Network(MobileNetV2, 224, 1000),
    "vit_b_16": Network(partial(VisionTransformer, 16, 12, 768, 12), 224, 1000),
    "vit_l_16": Network(partial(VisionTransformer, 16, 24, 1024, 16), 224, 1000),
}
