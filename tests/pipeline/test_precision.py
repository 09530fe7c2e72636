"""Which layers stay in higher precision: the fewest that a drop takes, and those that are named."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from safetensors.torch import save_file

from edgeprune.errors import EdgepruneError
from edgeprune.model.batches import sample
from edgeprune.model.data import load_data
from edgeprune.pipeline import precision
from edgeprune.pipeline.compress import compress, diagnose, quantize
from edgeprune.pipeline.precision import _fewest, _named, read_diagnosis, read_precision
from edgeprune.spec.budget import Budget
from edgeprune.spec.int8 import Int8
from edgeprune.spec.recipe import Recipe
from tests.pipeline.small import recipe

ORDER = ["a", "b", "c", "d", "e"]
FRAGILE = """

def fragile():
    import torch

    torch.manual_seed(5)
    parts = []
    for inputs in (3, 16, 16, 16):
        parts += [nn.Conv2d(inputs, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
"""


@dataclass
class _Net:
    """Reaches `limit` once all that it `needs` is in higher precision; remembers what was tried."""

    needs: set[str]
    tried: list[list[str]] = field(default_factory=list)

    def __call__(self, names: list[str]) -> float:
        self.tried.append(names)
        return 0.5 + 0.4 * (self.needs <= set(names))


@pytest.mark.parametrize(
    ("needs", "least", "kept"),
    [
        (set(), 0, []),
        ({"a"}, 0, ["a"]),
        ({"c"}, 0, ["c"]),
        ({"b", "d"}, 0, ["b", "d"]),
        ({"e"}, 0, ["e"]),
        (set("abcde"), 0, ORDER),
        ({"c"}, 1, ["a", "c"]),  # a is named by the recipe
        (set(), 2, ["a", "b"]),
    ],
)
def test_the_fewest_layers_are_kept(needs: set[str], least: int, kept: list[str]) -> None:
    net = _Net(needs)
    chosen, reached = _fewest(ORDER, least, net, 0.8)
    assert chosen == kept
    assert reached == 0.9
    assert len({*map(tuple, net.tried)}) == len(net.tried)  # each costs a run over the validation images


def test_where_no_choice_reaches_it_all_are_tried() -> None:
    chosen, reached = _fewest(ORDER, 0, lambda _: 0.5, 0.8)
    assert chosen == ORDER
    assert reached == 0.5


def test_layers_are_named_by_patterns() -> None:
    assert _named(["b*", "head"], ["a", "b.0", "b.1", "head"]) == ["b.0", "b.1", "head"]
    with pytest.raises(EdgepruneError, match=r"--int8-keep 'neck\*': no layer in INT8 has such a name"):
        _named(["head", "neck*"], ["a", "head"])


def _layers_in_int8(run: Path) -> set[str]:
    """Whose weights are stored as bytes."""
    graph = onnx.load(run / "bundle" / "model.onnx").graph
    stored = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims}
    read = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"} & stored
    kept = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    return {name.partition(".weight")[0] for name in read if kept[name] > 1}


def test_a_layer_that_is_named_ships_in_float(tmp_path: Path) -> None:
    asked = recipe(tmp_path, 1, int8=Int8(keep=("head",), anyway=True))
    outcome = compress(asked, tmp_path / "run")
    assert outcome.result is not None
    assert "in higher precision: head" in outcome.result.notes
    assert 0 < outcome.result.final.int8_macs_share < 1  # type: ignore[operator]
    inside = _layers_in_int8(tmp_path / "run")
    assert any("stem" in name for name in inside)
    assert not any("head" in name for name in inside)


def test_a_name_of_no_layer_is_one_line(tmp_path: Path) -> None:
    asked = recipe(tmp_path, 0, int8=Int8(keep=("haed",)))
    with pytest.raises(EdgepruneError, match=r"--int8-keep 'haed': no layer in INT8"):
        quantize(asked, tmp_path / "run")


def _fragile(folder: Path, **settings: object) -> Recipe:
    """A trained network whose channel between layers 2 and 4 is scaled by 1,000 and back: float computes the same."""
    asked = recipe(folder, 0, method="magnitude", budget=Budget(sparsity=0.01), int8=Int8.model_validate(settings))
    with (folder / "net.py").open("a", encoding="utf-8") as file:
        file.write(FRAGILE)
    data = load_data(asked.source, None, 0)
    x, y = sample(data.train, data.preprocessing, len(data.train), 0)
    space: dict[str, Any] = {}
    exec((folder / "net.py").read_text(encoding="utf-8"), space)
    net = space["fragile"]()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        channel = int(net[:4](x).mean((0, 2, 3)).argmax())  # its codes leave the other channels next to none
        net[2].weight[channel] *= 1000.0
        net[2].bias[channel] *= 1000.0
        net[4].weight[:, channel] /= 1000.0
    save_file(net.state_dict(), folder / "net.safetensors")
    source = {"model": f"{folder / 'net.py'}:fragile", "weights": str(folder / "net.safetensors")}
    training = {"dense_epochs": 0, "qat_epochs": 0}
    return asked.model_copy(
        update={
            "source": asked.source.model_copy(update=source),
            "training": asked.training.model_copy(update=training),
        }
    )


def test_the_fragile_layer_is_named_first_and_it_alone_stays_high(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _fragile(tmp_path, max_drop=0.01, ranges="minmax")
    found = read_diagnosis(diagnose(asked, tmp_path / "run"))
    assert found["layers"][0]["unit"] == "4"
    assert found["int8"] < found["float"] - 0.01
    assert found["layers"][0]["gained"] > 0
    settled = read_precision(quantize(asked, tmp_path / "run").stages[-1])
    assert settled["left"] == ["4"]
    assert settled["reached"] >= settled["reference"] - 0.01
    assert settled["parted"] == ["2"]  # ONNX Runtime's integer convolution cannot write the floats that it reads
    monkeypatch.setattr(precision, "_left", lambda *_: 0.0)
    with pytest.raises(EdgepruneError, match=r"--int8-max-drop 0.01: with every layer in float .* Train longer"):
        quantize(asked, tmp_path / "other")
