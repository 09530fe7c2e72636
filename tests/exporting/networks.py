"""Networks for the exporter's own difficulties, beside those of `tests.zoo`, and one network exported every way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from edgeprune.exporting.lower import to_onnxruntime
from edgeprune.exporting.onnx import to_onnx
from edgeprune.exporting.session import open_session
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.traced import Traced, trace
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.qat import Scheme, prepare
from tests import zoo

OPSET = 18
Style = tuple[Literal["unsigned", "signed"], Literal["onnxruntime", "tensorrt"]]
STYLES: list[Style] = [("unsigned", "onnxruntime"), ("signed", "onnxruntime"), ("signed", "tensorrt")]


class Clipped(nn.Module):
    """ReLU6 behind a convolution and behind a sum, with values on both of its sides."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.act, self.head = nn.ReLU6(), nn.Linear(16, 5)
        nn.init.normal_(self.a.weight, std=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x))
        return self.head(self.act(self.b(x) + x).mean((2, 3)))


class PoolFirst(nn.Module):
    """ReLU behind MaxPool, and MaxPool between a convolution and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 16), (16, 8), (16, 8)))
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(16 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.pool(self.a(x)))
        x = torch.cat([torch.relu(self.pool(self.b(x))), self.pool(self.c(x))], 1)
        return self.head(x.flatten(1))


class Dead(nn.Module):
    """Output channels without weights but with biases, large and small, one of almost no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Linear(8, 5)
        with torch.no_grad():
            self.a.weight[1] = 0
            self.b.weight[2:4] = 0
            self.b.weight[4] *= 1e-6
            self.head.weight[3] = 0
            self.b.bias.copy_(torch.tensor([0.1, -0.2, 40.0, -3.0, 25.0, 0.0, 1.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))


class Tokens(nn.Module):
    """A linear layer over a sequence: a matrix product with a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.mix, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(torch.relu(self.mix(x)).mean(1))


class Transformer(VisionTransformer):
    """Attention and LayerNorm in float between linear layers in INT8; no two parameters are equal."""

    def __init__(self) -> None:
        super().__init__(4, 2, 32, 4, 5, 3, image_size=12)
        for parameter in self.parameters():
            if parameter.dim() != 2:
                nn.init.normal_(parameter, mean=float(parameter.mean().detach()), std=0.1)


OWN: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind for kind in (Clipped, PoolFirst, Dead, Tokens, Transformer)
}
EVERY = [*zoo.ZOO, *OWN]
TENSORRT = ("Residual", "OptionA", "Depthwise", "Concat", "Shared", "PoolFirst", "Dead", "Tokens", "Transformer")
# What the styles share is shown on the first; the others run where they differ.
CASES: list[tuple[str, Style]] = [
    *((name, STYLES[0]) for name in EVERY),
    *((name, STYLES[1]) for name in ("OptionA", "Concat", "Clipped", "Gate")),
    *((name, STYLES[2]) for name in TENSORRT),
]


def images(count: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, *zoo.SHAPE, generator=torch.Generator().manual_seed(seed))


@functools.cache
def folded(name: str) -> Traced:
    if name in zoo.ZOO:
        return fold_batch_norm(trace(zoo.build(name), zoo.SHAPE))
    torch.manual_seed(0)
    return trace(OWN[name]().eval(), zoo.SHAPE)


@functools.cache
def frozen(name: str, style: Style, bits: Literal[7, 8] = 8) -> Traced:
    return freeze(prepare(folded(name), Scheme(*style, bits), [images()]))


@functools.cache
def exported(name: str, style: Style) -> onnx.ModelProto:
    return to_onnx(frozen(name, style), OPSET)


@functools.cache
def lowered(name: str, style: Style) -> onnx.ModelProto:
    return to_onnxruntime(exported(name, style))


def outputs(
    model: onnx.ModelProto, x: Tensor, names: list[str], optimise: bool, exact: bool = False
) -> list[np.ndarray]:
    """Run a model and return these of its tensors, be they graph outputs or not."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in names:
        if name not in {value.name for value in copy.graph.output}:
            copy.graph.output.append(next(v for v in copy.graph.value_info if v.name == name))
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    return list(open_session(copy, options, exact).run(names, {"input": x.numpy()}))
