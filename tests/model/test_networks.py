from pathlib import Path

import pytest
import torch

from edgeprune.model.networks import NETWORKS
from edgeprune.model.networks.vit import SelfAttention, VisionTransformer
from edgeprune.model.traced import trace
from edgeprune.model.weights import load_weights

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

PARAMETERS = [
    ("resnet20", 10, 269_722),
    ("resnet32", 10, 464_154),
    ("resnet56", 10, 853_018),
    ("wrn-28-8", 10, 23_356_634),
    ("wrn-28-8", 100, 23_402_804),
    ("resnet18", 1000, 11_689_512),
    ("resnet50", 1000, 25_557_032),
    ("mobilenet_v2", 1000, 3_504_872),
    ("vit_b_16", 1000, 86_567_656),
    ("vit_l_16", 1000, 304_326_632),
]


@pytest.mark.parametrize(("name", "classes", "count"), PARAMETERS)
def test_parameter_count(name: str, classes: int, count: int) -> None:
    with torch.device("meta"):
        module = NETWORKS[name].build(classes, 3)
    assert sum(p.numel() for p in module.parameters()) == count


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet20", 1), ("wrn-28-8", 3), ("resnet18", 1), ("resnet50", 3), ("mobilenet_v2", 1)]
)
def test_traces_with_any_batch(name: str, channels: int) -> None:
    module = NETWORKS[name].build(7, channels).eval()
    traced = trace(module, (channels, 32, 32))
    for batch in (1, 5):
        x = torch.randn(batch, channels, 32, 32)
        torch.testing.assert_close(traced.module(x), module(x))


def test_names_of_usual_checkpoints() -> None:
    with torch.device("meta"):
        small = NETWORKS["resnet20"].build(10, 3).state_dict()
        large = NETWORKS["resnet50"].build(1000, 3).state_dict()
    assert len(small) == 116
    assert {"conv1.weight", "layer2.0.bn2.running_var", "layer3.2.conv2.weight", "linear.bias"} <= set(small)
    assert {"layer1.0.downsample.0.weight", "layer4.2.conv3.weight", "fc.weight"} <= set(large)


def test_names_of_torchvision_checkpoints() -> None:
    with torch.device("meta"):
        vit = NETWORKS["vit_b_16"].build(1000, 3).state_dict()
        mobile = NETWORKS["mobilenet_v2"].build(1000, 3).state_dict()
    assert len(vit) == 4 + 12 * 12 + 4
    layer = "encoder.layers.encoder_layer_11"
    assert {name: tuple(vit[name].shape) for name in (
        "class_token", "conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding", f"{layer}.ln_1.weight",
        f"{layer}.self_attention.in_proj_weight", f"{layer}.self_attention.in_proj_bias",
        f"{layer}.self_attention.out_proj.weight", f"{layer}.mlp.0.weight", f"{layer}.mlp.3.bias", f"{layer}.ln_2.bias",
        "encoder.ln.weight", "heads.head.weight",
    )} == {
        "class_token": (1, 1, 768), "conv_proj.weight": (768, 3, 16, 16), "conv_proj.bias": (768,),
        "encoder.pos_embedding": (1, 197, 768), f"{layer}.ln_1.weight": (768,),
        f"{layer}.self_attention.in_proj_weight": (2304, 768), f"{layer}.self_attention.in_proj_bias": (2304,),
        f"{layer}.self_attention.out_proj.weight": (768, 768), f"{layer}.mlp.0.weight": (3072, 768),
        f"{layer}.mlp.3.bias": (768,), f"{layer}.ln_2.bias": (768,), "encoder.ln.weight": (768,),
        "heads.head.weight": (1000, 768),
    }  # fmt: skip
    assert len(mobile) == 314
    assert {
        "features.0.0.weight", "features.0.1.running_mean", "features.1.conv.0.0.weight", "features.1.conv.1.weight",
        "features.1.conv.2.bias", "features.2.conv.1.0.weight", "features.17.conv.2.weight", "features.17.conv.3.bias",
        "features.18.0.weight", "features.18.1.num_batches_tracked", "classifier.1.bias",
    } <= set(mobile)  # fmt: skip


def test_attention_is_torch_s_own() -> None:
    torch.manual_seed(0)
    own, theirs = SelfAttention(24, 4).double(), torch.nn.MultiheadAttention(24, 4, batch_first=True).double()
    theirs.load_state_dict(own.state_dict())
    x = torch.randn(3, 7, 24, dtype=torch.float64)
    torch.testing.assert_close(own(x), theirs(x, x, x, need_weights=False)[0])


def test_a_transformer_traces_with_any_batch() -> None:
    module = VisionTransformer(4, 2, 24, 4, 7, 1, image_size=16).eval()
    traced = trace(module, (1, 16, 16))
    for batch in (1, 5):
        x = torch.randn(batch, 1, 16, 16)
        torch.testing.assert_close(traced.module(x), module(x))


def test_shortcut_takes_every_second_pixel_and_pads_both_sides() -> None:
    block = NETWORKS["resnet20"].build(10, 3).get_submodule("layer2.0")
    x = torch.randn(1, 16, 4, 4)
    y = block.shortcut(x)
    assert y.shape == (1, 32, 2, 2)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize("depth", [20, 32, 56])
def test_shared_checkpoints_fit(depth: int) -> None:
    path = SHARED / f"resnet{depth}-cifar10.safetensors"
    if not path.is_file():
        pytest.skip("the trained weights do not lie beside this checkout")
    module = NETWORKS[f"resnet{depth}"].build(10, 3)
    before = module.get_parameter("linear.weight").clone()
    load_weights(module, path, f"resnet{depth}")
    assert not torch.equal(module.get_parameter("linear.weight"), before)
