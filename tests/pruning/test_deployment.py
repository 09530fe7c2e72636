"""Size, memory and milliseconds: against the file, by hand, and against the compacted network itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgeprune.compact.apply import compact
from edgeprune.errors import EdgepruneError
from edgeprune.exporting.onnx import to_onnx
from edgeprune.model.count import layers
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.shapes import node_shapes
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.budget import choose
from edgeprune.pruning.deployment import Deployment, deployed
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.pruning.quantity import value
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import LIMIT_NAMES, Budget
from edgeprune.spec.speeds import peaks
from edgeprune.spec.target import load_target
from tests.report.conftest import profile
from tests.zoo import SHAPE, ZOO, build

TARGET = load_target("jetson-orin-nano")
ABSOLUTE = ("size_mb", "memory_mb", "latency_ms")


def _ground(traced: Traced, precision: str = "int8", names: tuple[str, ...] = ABSOLUTE, **more: object) -> Prunable:
    return deployed(traced, prunable(traced), Deployment(precision, TARGET, **more), names)


def _scores(ground: Prunable, seed: int = 0) -> Scores:
    generator = torch.Generator().manual_seed(seed)
    return Scores({g.name: torch.rand(len(g.units), generator=generator, dtype=torch.float64) for g in ground.groups})


@pytest.mark.parametrize("name", [n for n in ZOO if n != "Unknown"])
def test_a_cut_network_costs_what_the_model_of_the_whole_one_says(name: str) -> None:
    traced = trace(build(name), SHAPE)
    ground = _ground(traced)
    cuts = choose(ground.groups, _scores(ground), ground.cost, Budget(macs=0.7), Limits(2, 0.9))
    thin, _ = compact(traced, ground.found, cuts.units, torch.randn(2, *SHAPE))
    again = _ground(thin)
    for limit in ABSOLUTE:
        whole = value(again.cost.quantities[limit], again.cost.units)
        unit = 1e6 if limit.endswith("mb") else 1.0
        # a gather that compaction put in is one tensor more in the thin graph
        tolerance = 0.1 if limit == "memory_mb" and name in {"OptionA", "Split", "Concat", "Pieces"} else 1e-9
        assert whole / unit == pytest.approx(cuts.reached[limit], rel=tolerance), limit


@pytest.mark.parametrize("name", ["Plain", "Residual", "Depthwise", "Flat"])
def test_float_size_is_that_of_the_weights_in_the_file(name: str) -> None:
    traced = trace(build(name), SHAPE)
    quantity = _ground(traced, "fp32", ("size_mb",)).cost.quantities["size_mb"]
    stored = sum(
        4 * int(np.prod(tensor.dims))
        for tensor in to_onnx(fold_batch_norm(traced), 18).graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims)
    )
    assert value(quantity, prunable(traced).cost.units) == pytest.approx(stored)


def test_int8_size_counts_weights_as_bytes_and_biases_as_four() -> None:
    traced = trace(build("Plain"), SHAPE)
    ground = _ground(traced, names=("size_mb",))
    weights, biases = 16 * 27 + 24 * 144 + 5 * 24, 16 + 24 + 5
    assert value(ground.cost.quantities["size_mb"], ground.cost.units) == weights + 4 * biases


@pytest.mark.parametrize(("precision", "width"), [("int8", 1), ("fp32", 4)])
def test_peak_memory_by_hand(precision: str, width: int) -> None:
    image, plane = 4 * 3 * 144, 16 * 144 * width
    plain = _ground(trace(build("Plain"), SHAPE), precision, ("memory_mb",))
    # The first convolution reads the image and writes 16 planes, which its ReLU overwrites; the second a quarter of 24.
    most = max(image + plane, plane + 24 * 36 * width)
    assert value(plain.cost.quantities["memory_mb"], plain.cost.units) == most
    residual = _ground(trace(build("Residual"), SHAPE), precision, ("memory_mb",))
    # While b runs, its input, its output and the shortcut are there.
    assert value(residual.cost.quantities["memory_mb"], residual.cost.units) == 3 * plane


def test_no_moment_has_more_alive_than_the_peak() -> None:
    traced = trace(build("Concat"), SHAPE)
    ground = _ground(traced, names=("memory_mb",))
    shapes = node_shapes(traced)
    nodes = [n for n in traced.module.graph.nodes if n.op in {"call_function", "placeholder"} and n.name in shapes]
    order = {node: i for i, node in enumerate(traced.module.graph.nodes)}

    def alive(moment: int) -> Iterator[int]:
        for node in nodes:
            if node.op == "call_function" and "conv" not in node.name and "cat" not in node.name:
                continue  # batch norms and ReLUs write in place, the rest is small
            readers, last = [node], order[node]
            while readers:
                reader = readers.pop()
                last = max([last, *(order[user] for user in reader.users)])
                readers += [user for user in reader.users if user.name.startswith(("batch_norm", "relu"))]
            if order[node] <= moment <= last:
                yield int(np.prod(shapes[node.name])) * (4 if node.op == "placeholder" else 1)

    most = max(sum(alive(moment)) for moment in order.values())
    assert value(ground.cost.quantities["memory_mb"], ground.cost.units) == most


def test_milliseconds_are_the_slower_of_computing_and_moving_summed_over_layers() -> None:
    traced = trace(build("Residual"), SHAPE)
    ground = _ground(traced)
    cuts = choose(ground.groups, _scores(ground), ground.cost, Budget(latency_ms=2e-4), Limits(4, 0.9))
    thin, _ = compact(traced, ground.found, cuts.units, torch.randn(2, *SHAPE))
    shapes, speed = node_shapes(thin), peaks(TARGET, "int8")
    assert speed is not None
    assert speed.macs_per_ms == pytest.approx(33.4e12 / 2 / 1000)
    assert speed.bytes_per_ms == pytest.approx(102e9 / 1000)
    nodes = {node.name: node for node in thin.module.graph.nodes}
    total = 0.0
    for layer in layers(thin):
        moved = sum(
            np.prod(shapes[n]) for n in (layer.node, nodes[layer.node].args[0].name, nodes[layer.node].args[1].name)
        )
        total += max(layer.macs / speed.macs_per_ms, float(moved) / speed.bytes_per_ms)
    assert cuts.reached["latency_ms"] == pytest.approx(total)
    assert total <= 2e-4
    assert ground.cost.latency_from == "a roofline of jetson-orin-nano's stated peaks, not measured"


def _profile(path: Path, times: dict[str, float], target: str = "cpu-x86-avx2", precision: str = "int8") -> Path:
    document = profile(1.0, "measured").model_dump(mode="json", by_alias=True)
    document |= {"target": target, "precision": precision}
    document["layers"] = [{"name": name, "ms": ms} for name, ms in times.items()]
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("target", ["cpu-x86-avx2", "jetson-orin-nano"])
def test_a_measured_profile_sets_every_layer_s_time(target: str, tmp_path: Path) -> None:
    traced = trace(build("Plain"), SHAPE)
    times = {"a": 3.0, "b": 5.0, "head": 1.0, "other": 0.5}
    file = _profile(tmp_path / "p.json", times, target)
    ground = deployed(traced, prunable(traced), Deployment("int8", load_target(target), str(file)), ("latency_ms",))
    latency = ground.cost.quantities["latency_ms"]
    assert value(latency, ground.cost.units) == pytest.approx(9.5)
    half = ground.cost.units // 2
    if target == "cpu-x86-avx2":  # no peaks: in proportion to the multiply-adds
        assert value(latency, half) == pytest.approx(3.0 / 2 + 5.0 / 4 + 1.0 / 2 + 0.5)
    assert value(latency, half) < 9.5
    assert str(ground.cost.latency_from).startswith("measured layer times of measured (")


def test_a_profile_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    traced = trace(build("Plain"), SHAPE)

    def fault(file: Path, precision: str = "int8") -> str:
        deployment = Deployment(precision, load_target("cpu-x86-avx2"), str(file))
        with pytest.raises(EdgepruneError) as caught:
            deployed(traced, prunable(traced), deployment, ("latency_ms",))
        return str(caught.value)

    times = {"a": 3.0, "b": 5.0, "head": 1.0}
    assert "has no time of layer b" in fault(_profile(tmp_path / "1.json", {"a": 1.0}))
    assert "was measured for jetson-thor" in fault(_profile(tmp_path / "2.json", times, "jetson-thor"))
    assert "was measured in int8, not fp32" in fault(_profile(tmp_path / "3.json", times), "fp32")
    assert "holds no layer times" in fault(_profile(tmp_path / "4.json", {}))


def test_several_limits_hold_together_and_the_failing_ones_are_named() -> None:
    traced = trace(build("Residual"), SHAPE)
    ground = deployed(traced, prunable(traced), Deployment("int8", TARGET), LIMIT_NAMES)
    asked = {"macs": 0.6, "params": 0.7, "sparsity": 0.1, "size_mb": 0.008, "memory_mb": 0.006, "latency_ms": 5e-4}
    cuts = choose(ground.groups, _scores(ground), ground.cost, Budget(**asked), Limits(4, 0.9))
    assert set(cuts.reached) == set(asked)
    for name, limit in asked.items():
        assert cuts.reached[name] >= limit - 1e-9 if name == "sparsity" else cuts.reached[name] <= limit * (1 + 1e-9)
    impossible = Budget(macs=0.5, size_mb=1e-4, memory_mb=1e-4)
    with pytest.raises(EdgepruneError) as caught:
        choose(ground.groups, _scores(ground), ground.cost, impossible, Limits(4, 0.9))
    told = str(caught.value)
    assert "--macs" not in told
    assert "--size-mb 0.0001 cannot be met: 0.00" in told
    assert "--memory-mb 0.0001 cannot be met: 0.00" in told
    reachable = {
        p.split()[0].removeprefix("--").replace("-", "_"): float(p.split()[1])
        for p in told.split(" or more")[:-1]
        for p in [p[p.rindex("--") :]]
    }
    assert set(reachable) == {"size_mb", "memory_mb"}
    choose(ground.groups, _scores(ground), ground.cost, Budget(**reachable), Limits(4, 0.9))


def test_a_network_within_its_limits_is_left_whole() -> None:
    ground = _ground(trace(build("Residual"), SHAPE))
    cuts = choose(ground.groups, _scores(ground), ground.cost, Budget(size_mb=1.0), Limits(4, 0.9))
    assert not cuts.units
