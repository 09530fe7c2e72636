from pathlib import Path

import pytest
import torch

from edgeprune.errors import EdgepruneError
from edgeprune.model.load import default_image_size, open_model
from edgeprune.model.traced import Traced, save
from edgeprune.spec.recipe import Source

CODE = """
import torch
from torch import nn
from beside import WIDTH

class Net(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.conv = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.head = nn.Linear(WIDTH, num_classes)
    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))

def build():
    return Net()

def sized(num_classes):
    return Net(num_classes)

def needy(width):
    return Net()

def broken():
    raise ValueError("no luck")

def number():
    return 3

def map_out():
    return nn.Conv2d(1, 3, 1)
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


def opened(model: str, classes: int = 3, seed: int = 0) -> Traced:
    return open_model(Source(model=model, data="digits"), classes, 1, 8, seed)


def refusal(model: str, classes: int = 3) -> str:
    with pytest.raises(EdgepruneError) as raised:
        opened(model, classes)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_file_functions_and_classes(code: Path) -> None:
    assert opened(f"{code}:build").input_shape == (1, 8, 8)
    assert opened(f"{code}:sized", 6).module(torch.zeros(4, 1, 8, 8)).shape == (4, 6)
    assert opened(f"{code}:Net", 4).module(torch.zeros(4, 1, 8, 8)).shape == (4, 4)


def test_module_function(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(code.parent)
    assert opened("net:build").input_shape == (1, 8, 8)


def test_seed_decides_the_first_weights_and_leaves_torch_alone() -> None:
    state = torch.get_rng_state()
    first, same, other = (opened("resnet20", 10, seed).module for seed in (1, 1, 2))
    name = "layer1.0.conv1.weight"
    assert torch.equal(first.get_parameter(name), same.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))
    assert torch.equal(torch.get_rng_state(), state)


def test_pt2(tmp_path: Path) -> None:
    traced = opened("resnet20", 10)
    path = tmp_path / "net.pt2"
    save(traced, path)
    again = open_model(Source(model=str(path), data="digits"), 10, 1, 8)
    x = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(again.module(x), traced.module(x))
    assert default_image_size(str(path)) == 8
    with pytest.raises(EdgepruneError, match=r"takes 1x8x8 images, the data give 1x16x16"):
        open_model(Source(model=str(path), data="digits"), 10, 1, 16)


def test_image_sizes() -> None:
    assert default_image_size("resnet56") == 32
    assert default_image_size("resnet50") == 224
    assert default_image_size("net.py:build") is None


def test_refusals(code: Path, tmp_path: Path) -> None:
    assert "Built-in: resnet20, resnet32" in refusal("resnet21")
    assert "package.module:function, or a .pt2" in refusal("resnet21")
    assert "none.py: no such file" in refusal(f"{tmp_path}/none.py:build")
    assert "none.pt2: no such file" in refusal(f"{tmp_path}/none.pt2")
    told = refusal(f"{code}:bild")
    assert "has no function 'bild'. It has: Net, broken, build, map_out, needy, number, sized" in told
    assert "say which function" in refusal(str(code))
    assert "needs arguments width" in refusal(f"{code}:needy")
    line = CODE.splitlines().index('    raise ValueError("no luck")') + 1
    assert f"broken failed: ValueError: no luck ({code}:{line})" in refusal(f"{code}:broken")
    assert "returned int, not a torch.nn.Module" in refusal(f"{code}:number")
    assert "gives 3 outputs, the data have 5 classes" in refusal(f"{code}:build", 5)
    assert "gives 3x3x8x8 for 3 images" in refusal(f"{code}:map_out")
    assert "no module 'nowhere'" in refusal("nowhere.at_all:build")
    assert "give this to --weights" in refusal("w.safetensors")
    (tmp_path / "typo.py").write_text("def build(:\n")
    assert "typo.py:1" in refusal(f"{tmp_path}/typo.py:build")


def test_weights_must_fit(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "w.pth")
    source = Source(model="resnet20", data="digits", weights=str(tmp_path / "w.pth"))
    with pytest.raises(EdgepruneError, match=r"does not fit resnet20: conv1.weight is 16x3x3x3, not 16x1x3x3"):
        open_model(source, 10, 1, 8)
