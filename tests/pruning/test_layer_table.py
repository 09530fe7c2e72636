"""Milliseconds by a table: on grids whose formula is known, against the compacted network, and over stairs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.compact.apply import compact
from edgeprune.errors import EdgepruneError
from edgeprune.model.layer_shapes import layer_shapes
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.budget import choose
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.greedy import Bound, holds, solve
from edgeprune.pruning.layer_table import Tabled, surface
from edgeprune.pruning.levels import Limits, table
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.pruning.quantity import Affine, value
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget
from edgeprune.spec.layer_costs import Family, Grid, LayerCosts
from edgeprune.spec.target import load_target
from tests.report.conftest import profile
from tests.zoo import SHAPE, ZOO, build

TARGET = load_target("cpu-x86-vnni")
CONV = Family(op="conv", kernel=(3, 3), padding=(1, 1), height=8, width=8)
UNTABLED = {"Depthwise", "Grouped", "Shuffle", "Upwards", "TokenMixing"}
"""Grouped and transposed convolutions, and layers over tokens that are cut themselves."""
NS = 1e-6
"""Milliseconds per multiply-add of the tables below."""


def grid(family: Family, inputs: tuple[int, ...], outputs: tuple[int, ...], ms=None) -> Grid:
    """A grid of `NS` per multiply-add, or of another formula of inputs and outputs."""
    formula = ms or (lambda i, o: NS * family.macs(i, o))
    return Grid(
        family=family,
        inputs=inputs,
        outputs=outputs,
        ms=tuple(tuple(formula(i, o) for o in outputs) for i in inputs),
    )


def costs(grids: tuple[Grid, ...], multiple: int = 2, **fields: object) -> LayerCosts:
    known = {"target": TARGET.name, "device": "x86_64 Linux", "processor": "A CPU", "precision": "int8"}
    known |= {"runtime": "ONNX Runtime", "threads": 2, "date": "2026-01-01", "edgeprune_version": "0.1.0", "rounds": 3}
    return LayerCosts.model_validate(
        {**known, "multiple": multiple, "grids": [g.model_dump() for g in grids], **fields}
    )


def table_of(traced: Traced, multiple: int = 2) -> LayerCosts:
    """Exact tables of every kind of layer that the network has."""
    shapes = layer_shapes(traced)
    found = []
    for family in dict.fromkeys(shape.family for shape in shapes):
        mine = [shape for shape in shapes if shape.family == family]
        inputs, outputs = max(s.inputs for s in mine), max(s.outputs for s in mine)
        found.append(grid(family, tuple(sorted({1, inputs})), tuple(sorted({1, 2, outputs}))))
    return costs(tuple(found), multiple)


def file_of(path: Path, *, table: LayerCosts, rows: list[dict[str, object]] | None = None, threads: int = 2) -> str:
    """A profile's file with a table, or the table's own."""
    if rows is None:
        path.write_text(table.model_dump_json(by_alias=True), encoding="utf-8")
        return str(path)
    document = profile(1.0, "measured", threads=threads).model_dump(mode="json", by_alias=True)
    document |= {"target": TARGET.name, "precision": "int8", "layers": rows}
    document["layer_costs"] = table.model_dump(mode="json", by_alias=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def ground_of(traced: Traced, file: str) -> Prunable:
    return deployed(traced, prunable(traced), Deployment("int8", TARGET, file), ("latency_ms",))


@pytest.mark.parametrize("name", [n for n in ZOO if n != "Unknown"])
def test_a_cut_network_takes_what_the_table_says_of_the_cut_network_itself(name: str, tmp_path: Path) -> None:
    traced = trace(build(name), SHAPE)
    file = file_of(tmp_path / "t.json", table=table_of(traced, 1))
    try:
        ground = ground_of(traced, file)
    except EdgepruneError as error:
        # Too much of the network is of kinds that no table has.
        assert "times no layers of this network's shapes" in str(error)  # noqa: PT017
        assert name in UNTABLED
        return
    assert name not in UNTABLED
    latency = ground.cost.quantities["latency_ms"]
    assert isinstance(latency, Tabled)
    generator = torch.Generator().manual_seed(0)
    scores = Scores({g.name: torch.rand(len(g.units), generator=generator, dtype=torch.float64) for g in ground.groups})
    cuts = choose(ground.groups, scores, ground.cost, Budget(macs=0.7), Limits(2, 0.9))
    thin, _ = compact(traced, ground.found, cuts.units, torch.randn(2, *SHAPE))
    again = ground_of(thin, file).cost
    assert value(again.quantities["latency_ms"], again.units) == pytest.approx(cuts.reached["latency_ms"], rel=1e-6)
    kept = np.array([count for count, _ in cuts.kept.values()])
    fewer = np.minimum(1, kept - 1)
    saved = latency.saved(kept, fewer)[0]
    for g in range(len(kept)):
        less = kept.copy()
        less[g] -= fewer[g]
        assert saved[g] == pytest.approx(float((latency.at(kept) - latency.at(less))[0]), abs=1e-12)


def test_where_milliseconds_come_from_is_told(tmp_path: Path) -> None:
    traced = trace(build("Plain"), SHAPE)
    ground = ground_of(traced, file_of(tmp_path / "t.json", table=table_of(traced)))
    assert ground.cost.latency_from == (
        "a measured table of layers on A CPU, 2 threads (2026-01-01), layers alone, without what lies between them"
    )


def test_what_layers_take_in_the_network_scales_what_they_take_alone(tmp_path: Path) -> None:
    traced = trace(build("Plain"), SHAPE)
    shapes = {shape.name: shape for shape in layer_shapes(traced)}
    times = {"a": 3.0, "b": 5.0, "head": 1.0}
    rows = [{"name": name, "ms": ms, "shape": shapes[name].model_dump(mode="json")} for name, ms in times.items()]
    rows += [{"name": "add", "ms": 0.6}, {"name": "between nodes", "ms": 0.4}]
    ground = ground_of(traced, file_of(tmp_path / "p.json", table=table_of(traced), rows=rows))
    latency, units = ground.cost.quantities["latency_ms"], ground.cost.units
    assert value(latency, units) == pytest.approx(10.0)
    assert "scaled to measured (" in str(ground.cost.latency_from)
    alone = ground_of(traced, file_of(tmp_path / "other.json", table=table_of(traced), rows=rows, threads=1))
    assert "layers alone" in str(alone.cost.latency_from), "with another number of threads it is another speed"
    half = units // 2
    elements = {name: s.outputs * s.family.reuse for name, s in shapes.items()}
    # Half of the outputs everywhere but at the head, which keeps its classes.
    left = (elements["a"] / 2 + elements["b"] / 2 + elements["head"]) / sum(elements.values())
    assert value(latency, half) == pytest.approx(3.0 / 2 + 5.0 / 4 + 1.0 / 2 + 0.6 * left + 0.4)


def test_a_profile_of_the_cut_network_speaks_for_the_whole_one_too(tmp_path: Path) -> None:
    traced = trace(build("Plain"), SHAPE)
    whole = {shape.name: shape for shape in layer_shapes(traced)}
    rows: list[dict[str, object]] = []
    for shape in whole.values():
        cut = shape.model_copy(update={"outputs": shape.outputs // 2 if shape.name != "head" else shape.outputs})
        ms = 2 * NS * cut.family.macs(cut.inputs, cut.outputs)  # twice as long as alone
        rows.append({"name": shape.name, "ms": ms, "shape": cut.model_dump(mode="json")})
    ground = ground_of(traced, file_of(tmp_path / "p.json", table=table_of(traced), rows=rows))
    expected = sum(2 * NS * s.family.macs(s.inputs, s.outputs) for s in whole.values())
    assert value(ground.cost.quantities["latency_ms"], ground.cost.units) == pytest.approx(expected)


def test_a_table_of_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    traced = trace(build("Plain"), SHAPE)
    other = file_of(tmp_path / "t.json", table=costs((grid(CONV.model_copy(update={"height": 99}), (8,), (8,)),)))
    with pytest.raises(EdgepruneError, match="times no layers of this network's shapes"):
        ground_of(traced, other)
    (tmp_path / "arm.json").write_text(
        table_of(traced).model_copy(update={"target": "cpu-arm64"}).model_dump_json(by_alias=True)
    )
    with pytest.raises(EdgepruneError, match="was measured for cpu-arm64, not cpu-x86-vnni"):
        ground_of(traced, str(tmp_path / "arm.json"))


def test_between_measured_widths_time_is_bilinear_and_beyond_them_proportional() -> None:
    found = surface(grid(CONV, (8, 16), (8, 16), lambda i, o: 1 + i / 8 + o / 8 + i * o / 64), 8)

    def at(i: float, o: float) -> float:
        return float(found.at(np.array([i]), np.array([o]))[0])

    assert at(8, 16) == pytest.approx(1 + 1 + 2 + 2)
    assert at(16, 32) == pytest.approx(2 * at(16, 16))
    assert at(4, 8) == pytest.approx(at(8, 8)), "below the narrowest nothing more is saved"


def test_a_width_between_multiples_costs_what_was_measured_of_such() -> None:
    """12 of 16 take 1.1 of the time of 16, and so does every width that is no multiple of 8."""

    def ms(_i: int, o: int) -> float:
        return {8: 1.0, 12: 2.2, 16: 2.0, 24: 3.0}[o]

    found = surface(grid(CONV, (8,), (8, 12, 16, 24), ms), 8)
    at = found.at(np.full(5, 8.0), np.array([8.0, 12.0, 16.0, 20.0, 24.0]))
    np.testing.assert_allclose(at, [1.0, 2.2, 2.0, 3.3, 3.0])


def two_layers(formula) -> Tabled:
    """Two layers of one group each, and milliseconds by their outputs."""
    widths = (8, 16, 24, 32, 40, 48, 56, 64)
    return Tabled(
        surfaces=(surface(grid(CONV, (8,), widths, lambda _i, o: formula(o)), 8),) * 2,
        inputs=Affine(np.full(2, 8.0), np.zeros((2, 2))),
        outputs=Affine(np.zeros(2), np.eye(2)),
        factor=np.ones(2),
        macs=np.zeros(2),
        ms_per_mac=0.0,
        elements=np.zeros(2),
        touched=(np.array([0]), np.array([1])),
    )


def solved(latency: Tabled, limit: float, worth: tuple[float, float] = (1.0, 1.0)) -> list[int]:
    """The widths that are left under a limit, where more is lost the more is gone."""
    levels = table([np.arange(64, 0, -8)] * 2, [each * np.arange(65.0) ** 2 for each in worth])
    bound = Bound(latency, limit)
    found = levels.counts(solve(levels, [bound]))
    assert holds([bound], found)
    return [int(count) for count in found]


def test_the_solver_steps_over_flats_of_stairs() -> None:
    """Time falls every second step only: a solver that looks one step ahead would never take the first."""
    # Both lose alike, so half of both goes, and no width stands on a flat.
    assert solved(two_layers(lambda o: math.ceil(o / 16)), 4.0) == [32, 32]


def test_the_solver_does_not_end_where_narrower_is_slower() -> None:
    """8 channels take longer than 16: there is no reason to go there, even for a layer that is worth nothing."""
    bump = two_layers(lambda o: 1.5 if o == 8 else o / 16)
    assert solved(bump, 3.0, (1.0, 1e-6)) == [32, 16]
    assert solved(bump, 2.0) == [16, 16]
