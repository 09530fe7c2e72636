"""What an inspection says, against the network's own numbers."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
import torch
from rich.console import Console

import edgeprune
from edgeprune.compact.apply import compact
from edgeprune.model.count import macs, params
from edgeprune.model.traced import trace
from edgeprune.pruning.inspection import inspect_network
from edgeprune.pruning.plan import survey
from edgeprune.report.inspection import tables, to_json
from edgeprune.spec.target import load_target
from tests.zoo import SHAPE, ZOO, build


@pytest.mark.parametrize("name", list(ZOO))
def test_layers_add_up_to_the_network(name: str) -> None:
    traced = trace(build(name), SHAPE)
    found = inspect_network(traced, name, None)
    assert found.macs == macs(traced) == sum(layer.macs for layer in found.layers) + found.other_macs
    assert found.params == params(traced) == sum(layer.params for layer in found.layers) + found.other_params
    assert 0 <= found.macs_in_groups <= 1
    assert {layer.group for layer in found.layers} - {None} <= {group.name for group in found.groups}
    for group in found.groups:
        assert 1 <= group.narrowest <= group.units
        assert set(group.layers) <= {layer.name for layer in found.layers}


def test_shares_are_what_is_left_when_every_unit_goes() -> None:
    module = build("Residual")
    found = inspect_network(trace(module, SHAPE), "Residual", None)
    # Of every layer at least one axis can be cut; the head's biases and what has no axis stay.
    assert found.macs_in_groups == 1
    assert found.params_in_groups == pytest.approx(1 - 5 / params(trace(module, SHAPE)))
    unknown = inspect_network(trace(build("Unknown"), SHAPE), "Unknown", None)
    assert 0 < unknown.macs_in_groups < 1
    assert len(unknown.frozen) > 1


def test_the_smallest_network_is_one_that_can_be_cut() -> None:
    traced = trace(build("Residual"), SHAPE)
    found = inspect_network(traced, "Residual", None)
    ground = survey(traced)
    least = {group.name: group.narrowest for group in found.groups}
    units = frozenset(unit for group in ground.groups for unit in group.units[least[group.name] :])
    thin, _ = compact(traced, ground.found, units, torch.randn(2, *SHAPE))
    assert macs(thin) / macs(traced) == pytest.approx(found.smallest["macs"])
    assert params(thin) / params(traced) == pytest.approx(found.smallest["params"])


def test_a_network_of_which_nothing_can_be_cut_is_shown_too() -> None:
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = torch.nn.Linear(12, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.only(x.mean((1, 2)))

    found = edgeprune.inspect(Fixed(), torch.randn(2, *SHAPE))
    assert found.groups == ()
    assert found.smallest == found.whole
    assert found.macs == 60
    assert "leaves the network" in " ".join(found.frozen.values())


def test_a_target_brings_its_multiple_and_its_milliseconds() -> None:
    module = build("Residual")
    plain = edgeprune.inspect(module, torch.randn(2, *SHAPE))
    assert "latency_ms" not in plain.whole
    there = edgeprune.inspect(module, torch.randn(2, *SHAPE), target="jetson-orin-nano")
    assert there.whole["latency_ms"] > there.smallest["latency_ms"] > 0
    assert there.latency_from is not None
    here = edgeprune.inspect(module, (torch.randn(2, *SHAPE),), target="cpu-x86-vnni")
    assert here.channel_multiple == load_target("cpu-x86-vnni").channel_multiple.value
    assert "latency_ms" not in here.whole
    with pytest.raises(dataclasses.FrozenInstanceError):
        here.macs = 1
    with pytest.raises(edgeprune.EdgepruneError, match="unknown target"):
        edgeprune.inspect(module, torch.randn(2, *SHAPE), target="x")


@pytest.mark.parametrize("name", list(ZOO))
def test_tables_fit_80_columns_and_json_has_all(name: str) -> None:
    found = inspect_network(trace(build(name), SHAPE), f"[{name}]", load_target("jetson-orin-nano"))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables(found), highlight=False)
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert f"[{name}], 3x12x12" in text
    for layer in found.layers:
        assert layer.name in text
    document = json.loads(to_json(found))
    assert document["schema"] == 1
    assert [layer["name"] for layer in document["layers"]] == [layer.name for layer in found.layers]
    assert document["groups"] == json.loads(json.dumps([dataclasses.asdict(group) for group in found.groups]))
