"""`timm:NAME` and `torchvision:NAME`, against libraries of our own that answer as those do."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.load import default_image_size, open_model, starts_random
from edgeprune.spec.recipe import Source


class Pictures(nn.Module):
    """A classifier; `fixed` takes images of one size only, as a position table does."""

    def __init__(self, classes: int, channels: int, fixed: int | None = None) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4, classes)
        self.places = None if fixed is None else nn.Parameter(torch.zeros(fixed, fixed))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.head((x if self.places is None else x + self.places).mean((2, 3)))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: Any = ModuleType("timm")
    settings = {
        "convs": SimpleNamespace(input_size=(3, 40, 40), fixed_input_size=False),
        "tokens": SimpleNamespace(input_size=(3, 16, 16), fixed_input_size=True),
    }

    def create_model(name: str, pretrained: bool, num_classes: int, in_chans: int, **rest: int) -> nn.Module:
        assert not pretrained, "nothing is downloaded"
        if name == "convs":
            assert not rest
            return Pictures(num_classes, in_chans)
        return Pictures(num_classes, in_chans, rest.get("img_size", 16))

    module.list_models = lambda: [*settings, "bare"]
    module.get_pretrained_cfg = settings.get
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    models: Any = ModuleType("torchvision.models")
    enum = SimpleNamespace(DEFAULT=SimpleNamespace(transforms=SimpleNamespace(keywords={"crop_size": 48})))

    def get_model(name: str, num_classes: int, **rest: Any) -> nn.Module:
        assert rest["weights"] is None, "nothing is downloaded"
        return Pictures(num_classes, 3, rest["image_size"] if name == "vit_x" else None)

    models.list_models = lambda **_: ["convs", "vit_x"]
    models.get_model_weights = lambda _: enum
    models.get_model = get_model
    whole: Any = ModuleType("torchvision")
    whole.models = models
    monkeypatch.setitem(sys.modules, "torchvision", whole)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return whole


def outputs(model: str, classes: int, channels: int, side: int) -> tuple[int, ...]:
    traced = open_model(Source(model=model, data="digits"), classes, channels, side)
    return tuple(traced.module(torch.zeros(3, channels, side, side)).shape)


def refusal(model: str, channels: int = 3) -> str:
    with pytest.raises(EdgepruneError) as raised:
        outputs(model, 5, channels, 16)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.usefixtures("timm")
def test_timm_networks_take_classes_channels_and_size() -> None:
    assert [default_image_size(f"timm:{name}") for name in ("convs", "tokens", "bare")] == [40, 16, 224]
    assert outputs("timm:convs", 7, 1, 24) == (3, 7)
    assert outputs("timm:tokens", 7, 3, 16) == (3, 7)
    assert outputs("timm:tokens", 7, 3, 24) == (3, 7)


@pytest.mark.usefixtures("torchvision")
def test_torchvision_networks_take_classes_and_size() -> None:
    assert default_image_size("torchvision:convs") == 48
    assert outputs("torchvision:convs", 7, 3, 24) == (3, 7)
    assert outputs("torchvision:vit_x", 7, 3, 24) == (3, 7)
    assert "3 channels, the data have 1" in refusal("torchvision:convs", channels=1)


def test_libraries_give_untrained_networks_as_the_built_in_ones_do() -> None:
    assert [starts_random(name) for name in ("timm:convs", "torchvision:vit_x", "resnet20")] == [True] * 3
    assert not any(starts_random(name) for name in ("net.py:build", "net.pt2", "torchvision.models:resnet18"))


@pytest.mark.usefixtures("timm")
def test_a_wrong_name_lists_close_ones() -> None:
    assert "Close: convs" in refusal("timm:conv")
    assert "It has 3 networks" in refusal("timm:hf-hub:somebody/something")


def test_a_seed_decides_the_weights(timm: ModuleType) -> None:
    del timm
    first, same, other = (
        open_model(Source(model="timm:convs", data="digits"), 5, 3, 16, seed).module for seed in (1, 1, 2)
    )
    name = "conv.weight"
    assert torch.equal(first.get_parameter(name), same.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


def test_an_absent_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # as Python marks what is not there
    assert refusal("timm:resnet18") == "timm networks need timm. Install it: pip install timm."


def test_a_library_that_fails_says_why(timm: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(*_: object, **__: object) -> None:
        raise RuntimeError("no such tag\nmore")

    monkeypatch.setattr(timm, "create_model", create_model)
    assert "timm:convs cannot be built: RuntimeError: no such tag" in refusal("timm:convs")
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: "text")
    assert "is str, no network" in refusal("timm:convs")


SPOILT = """
import torch
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
from torchvision import models
"""
MODELS = """
from torch import nn
def list_models(module): return ["flat"]
def get_model(name, weights, num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(48, num_classes))
"""


def test_operators_that_torchvision_lacks_are_declared(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(SPOILT)
    (package / "models.py").write_text(MODELS)
    code = (
        "from edgeprune.model.load import open_model; from edgeprune.spec.recipe import Source\n"
        "traced = open_model(Source(model='torchvision:flat', data='digits'), 5, 3, 4)\n"
        "assert traced.module(traced.example(3)).shape == (3, 5)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


INSTALLED = [m for m in ("timm:test_vit", "torchvision:squeezenet1_1") if find_spec(m.partition(":")[0])]


@pytest.mark.parametrize("model", INSTALLED)
def test_an_installed_library_builds_its_networks(model: str) -> None:
    code = (
        "import sys; from edgeprune.model.load import default_image_size, open_model\n"
        "from edgeprune.spec.recipe import Source\n"
        f"side = default_image_size({model!r})\n"
        f"traced = open_model(Source(model={model!r}, data='digits'), 5, 3, side)\n"
        "assert traced.module(traced.example(3)).shape == (3, 5)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
