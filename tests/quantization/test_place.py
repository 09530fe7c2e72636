from __future__ import annotations

import pytest
import torch

from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.traced import trace
from edgeprune.quantization.keeps import packet
from edgeprune.quantization.place import Placement, Runtime, is_layer, place
from edgeprune.quantization.sign import non_negative
from tests import zoo

ATEN = torch.ops.aten


def _placed(name: str, runtime: Runtime) -> Placement:
    return place(fold_batch_norm(trace(zoo.build(name), zoo.SHAPE)).module.graph, runtime)


def _kinds(placement: Placement) -> list[str]:
    return [
        str(packet(node)).removeprefix("aten.") if node.op == "call_function" else node.op
        for node in placement.activations
    ]


def test_onnxruntime_quantizes_behind_every_kernel() -> None:
    # input, stem, a, the convolution before the add (no ReLU), the sum, pooling
    found = _kinds(_placed("OptionA", "onnxruntime"))
    assert found == ["placeholder", "relu", "relu", "conv2d", "relu", "relu", "avg_pool2d"]


def test_tensorrt_quantizes_what_layers_read_and_the_shortcut() -> None:
    # the convolution before the add has none, nor has the input of the pooling
    found = _kinds(_placed("OptionA", "tensorrt"))
    assert found == ["placeholder", "relu", "relu", "relu", "avg_pool2d"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("name", list(zoo.ZOO))
def test_moving_operators_get_none_and_every_layer_reads_codes(name: str, runtime: Runtime) -> None:
    folded = fold_batch_norm(trace(zoo.build(name), zoo.SHAPE))
    placement = place(folded.module.graph, runtime)
    kinds = _kinds(placement)
    assert not {"slice", "pad", "view", "flatten", "permute", "max_pool2d", "getitem"} & set(kinds)
    layers = [n for n in folded.module.graph.nodes if is_layer(n, runtime)]
    assert {str(n.args[1].target) for n in layers} == {str(w.target) for w in placement.weights}  # type: ignore[union-attr]


def test_parts_of_a_concatenation_share_its_quantizer() -> None:
    placement = _placed("Concat", "onnxruntime")
    assert _kinds(placement).count("cat") == 2
    relus = [n for n in placement.activations if packet(n) == ATEN.relu]
    assert len(relus) == 1  # the one that another layer reads too


def test_signs() -> None:
    graph = fold_batch_norm(trace(zoo.build("Concat"), zoo.SHAPE)).module.graph
    signs = {node.name: non_negative(node) for node in graph.nodes if node.op in ("call_function", "placeholder")}
    assert signs["relu"]
    assert signs["cat"]
    assert signs["max_pool2d"]
    assert signs["mean"]
    assert not signs["x"]
    assert not signs["conv2d"]
    assert not signs["linear"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_of_a_transformer_only_what_linear_layers_read_is_quantized(runtime: Runtime) -> None:
    graph = trace(VisionTransformer(4, 2, 32, 4, 5, 3, image_size=12), zoo.SHAPE).module.graph
    placement = place(graph, runtime)
    layer = ["layer_norm", "scaled_dot_product_attention", "layer_norm", "gelu"]
    # ONNX Runtime's convolution writes codes too.
    patches = ["conv2d"] if runtime == "onnxruntime" else []
    assert _kinds(placement) == ["placeholder", *patches, *layer, *layer, "layer_norm"]
    assert len(placement.weights) == 2 * 4 + 2


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_a_sum_behind_a_convolution_is_quantized_also_in_a_network_with_tokens(runtime: Runtime) -> None:
    class Hybrid(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1)
            self.mix, self.head = torch.nn.Linear(8, 8), torch.nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x).relu()
            x = (self.b(x) + x).relu().flatten(2).transpose(1, 2)
            x = x + self.mix(x)
            return self.head(x.mean(1))

    kinds = _kinds(place(trace(Hybrid(), zoo.SHAPE).module.graph, runtime))
    both = ["placeholder", "relu", *(["conv2d"] if runtime == "onnxruntime" else []), "relu", "mean"]
    assert kinds == both
