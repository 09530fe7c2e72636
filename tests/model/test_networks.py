from pathlib import Path

import pytest
import torch

from edgeprune.model.networks import NETWORKS
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
]


@pytest.mark.parametrize(("name", "classes", "count"), PARAMETERS)
def test_parameter_count(name: str, classes: int, count: int) -> None:
    with torch.device("meta"):
        module = NETWORKS[name].build(classes, 3)
    assert sum(p.numel() for p in module.parameters()) == count


@pytest.mark.parametrize(("name", "channels"), [("resnet20", 1), ("wrn-28-8", 3), ("resnet18", 1), ("resnet50", 3)])
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
