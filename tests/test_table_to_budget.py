"""From a bundle over the device's table of its layers to a budget in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import edgeprune
from edgeprune.measure import layer_bench
from edgeprune.measure.profile import Wishes, profile_bundle
from edgeprune.measure.written import write_profile
from edgeprune.model.layer_shapes import layer_shapes
from edgeprune.model.traced import trace
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.plan import prunable
from edgeprune.pruning.quantity import value
from edgeprune.spec.bundle import open_bundle
from edgeprune.spec.layer_costs import Family
from edgeprune.spec.profile import Profile
from edgeprune.spec.target import load_target
from tests.zoo import SHAPE, build

TARGET = "cpu-x86-vnni"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell is run once, and takes what its multiply-adds say: a busy machine decides no test."""
    real = layer_bench._time

    def made(cell: tuple[Family, int, int], bench: layer_bench.Bench, path: Path) -> tuple[float, str]:
        _, words = real(cell, bench, path)
        family, inputs, outputs = cell
        return 1e-3 + 1e-6 * family.macs(inputs, outputs), words

    monkeypatch.setattr(layer_bench, "_time", made)
    monkeypatch.setattr(layer_bench, "ROUNDS", 1)
    monkeypatch.setattr(layer_bench, "CALLS", 2)


def measured(name: str, precision: str, folder: Path) -> tuple[Profile, str]:
    """Export a network whole, and profile it with its table."""
    module, x = build(name), torch.randn(8, *SHAPE)
    network = edgeprune.quantize(module, x, [x], target=TARGET) if precision == "int8" else module
    bundle = edgeprune.export(
        network, x, folder / "bundle", target=TARGET, labels=tuple("abcde"), mean=(0.5,) * 3, std=(0.25,) * 3
    )
    profile = profile_bundle(bundle.path, seconds=0.05, threads=1, wishes=Wishes(layers=True))
    return profile, str(write_profile(profile, folder / "profiles"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("name", ["Residual", "Plain"])
def test_a_network_s_own_table_predicts_its_own_median(name: str, precision: str, tmp_path: Path) -> None:
    profile, file = measured(name, precision, tmp_path)
    traced = trace(build(name), SHAPE)
    shapes = layer_shapes(traced)
    assert {shape.name for shape in open_bundle(tmp_path / "bundle").manifest.layers} == {s.name for s in shapes}
    # Every layer is found again among the runtime's rows, whatever it was fused with.
    assert profile.layers is not None
    timed = {row.name for row in profile.layers if row.shape is not None}
    assert timed == {shape.name for shape in shapes}
    assert profile.layer_costs is not None
    assert {grid.family for grid in profile.layer_costs.grids} == {shape.family for shape in shapes}
    ground = deployed(traced, prunable(traced), Deployment(precision, load_target(TARGET), file), ("latency_ms",))
    assert "scaled to bundle-cpu-x86-vnni" in str(ground.cost.latency_from)
    latency = ground.cost.quantities["latency_ms"]
    assert value(latency, ground.cost.units) == pytest.approx(profile.latency_ms.p50, rel=1e-4)
    assert value(latency, np.maximum(ground.cost.units // 2, 1)) <= profile.latency_ms.p50


@pytest.mark.usefixtures("quick")
def test_a_cut_to_milliseconds_holds_them_by_the_table(tmp_path: Path) -> None:
    profile, _ = measured("Residual", "int8", tmp_path)
    # So small a network is mostly what lies between its layers; here every layer takes a millisecond, and nothing else.
    rows = tuple(row.model_copy(update={"ms": 1.0 if row.shape is not None else 0.0}) for row in profile.layers or ())
    file = write_profile(profile.model_copy(update={"layers": rows}), tmp_path / "made")
    layers = sum(row.ms for row in rows)
    module, x = build("Residual"), torch.randn(2, *SHAPE)
    options = {"method": "magnitude", "target": TARGET, "latency_profile": str(file)}
    with pytest.raises(edgeprune.EdgepruneError, match="is the least that can be reached"):
        edgeprune.prune(module, x, latency_ms=1e-3, **options)  # type: ignore[arg-type]
    small = edgeprune.prune(module, x, latency_ms=0.9 * layers, **options)  # type: ignore[arg-type]
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in module.parameters())
