"""Which layers a pattern takes, and the reasons told for the others."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.networks.mobilenet import MobileNetV2
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.eligible import eligible
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.target import load_target
from tests import zoo

JETSON, CPU = load_target("jetson-orin-nano"), load_target("cpu-x86-avx2")


class Widths(nn.Module):
    """Layers of every kind that a sparse kernel takes or refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.inputs, self.outputs = nn.Conv2d(24, 32, 1), nn.Conv2d(32, 12, 1)
        self.grouped, self.depthwise = nn.Conv2d(12, 12, 3, groups=2), nn.Conv2d(12, 12, 1, groups=12)
        self.up, self.head = nn.ConvTranspose2d(12, 16, 1), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.grouped(self.outputs(self.inputs(self.wide(self.stem(x)).relu()))))
        return self.head(self.up(x).mean((2, 3))) / 2


def _widths() -> Traced:
    return trace(Widths(), zoo.SHAPE)


def test_sparse_kernels_of_tensorrt_ask_for_widths() -> None:
    found = eligible(_widths(), parse_pattern("2:4"), JETSON, ())
    assert found.weights == ("wide.weight",)
    assert found.narrow == ("wide.weight",)
    assert found.reasons == {
        "stem.weight": "it reads the image (3 input channels)",
        "inputs.weight": "its 24 inputs are no multiple of 16, which sparse kernels of TensorRT need",
        "outputs.weight": "its 12 outputs are no multiple of 8, which sparse kernels of TensorRT need",
        "grouped.weight": "its 6 inputs per group are no multiple of 4",
        "depthwise.weight": "its one input per group is no multiple of 4",
        "up.weight": "a transposed convolution",
        "head.weight": "it gives the class scores",
    }


def test_elsewhere_only_the_groups_must_fit() -> None:
    for target in (CPU, JETSON):
        found = eligible(_widths(), parse_pattern("1:4"), target, ())
        assert found.weights == ("wide.weight", "inputs.weight", "outputs.weight")
        assert found.narrow == ()
    assert "grouped.weight" in eligible(_widths(), parse_pattern("1:3"), CPU, ()).weights


def test_blocks_ask_for_outputs_and_single_weights_for_nothing() -> None:
    blocks = eligible(_widths(), parse_pattern("1x8"), CPU, ())
    assert set(blocks.weights) == {"wide.weight", "inputs.weight"}
    assert blocks.reasons["outputs.weight"] == "its 12 outputs are no multiple of 8"
    single = eligible(_widths(), parse_pattern("unstructured"), CPU, ())
    assert set(single.reasons) == {"stem.weight", "up.weight", "head.weight"}


def test_what_is_kept_stays_dense_and_a_pattern_of_nothing_is_told() -> None:
    found = eligible(_widths(), parse_pattern("1:4"), CPU, ("in*",))
    assert found.reasons["inputs.weight"] == "--keep 'in*'"
    with pytest.raises(EdgepruneError, match=r"--keep 'bdy\*' matches no layer\. The layers: stem, wide"):
        eligible(_widths(), parse_pattern("1:4"), CPU, ("bdy*",))
    with pytest.raises(EdgepruneError, match="no layer of this network can be pruned 2:4"):
        eligible(_widths(), parse_pattern("2:4"), JETSON, ("wide",))


def test_a_weight_that_two_layers_share_is_taken_once() -> None:
    found = eligible(trace(zoo.build("Shared"), zoo.SHAPE), parse_pattern("2:4"), CPU, ())
    assert len(found.weights) == len(set(found.weights))
    assert not set(found.weights) & set(found.reasons)


def test_of_a_transformer_all_but_the_patches_and_the_head_are_taken() -> None:
    traced = trace(VisionTransformer(4, 2, 32, 4, 8, 3, image_size=12), zoo.SHAPE)
    found = eligible(traced, parse_pattern("2:4"), JETSON, ())
    assert set(found.reasons) == {"conv_proj.weight", "heads.head.weight"}
    assert len(found.weights) == 2 * 4
    assert "encoder.layers.encoder_layer_1.self_attention.in_proj_weight" in found.weights


def test_of_mobilenet_the_depthwise_layers_stay() -> None:
    found = eligible(trace(MobileNetV2(8, 3), (3, 32, 32)), parse_pattern("2:4"), CPU, ())
    depthwise = [name for name, why in found.reasons.items() if "per group" in why]
    assert len(depthwise) == 17
    assert set(found.reasons) - set(depthwise) == {"features.0.0.weight", "classifier.1.weight"}
