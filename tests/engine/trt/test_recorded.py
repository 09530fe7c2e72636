"""(e) Inspector documents, profiles, build logs and trtexec's files with the structure of real ones (`recorded/`)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgeprune.engine.trt.build_log import read_sparsity
from edgeprune.engine.trt.inspector import read_inspection
from edgeprune.engine.trt.layers import engine_layers, int8_share
from edgeprune.engine.trt.trtexec import read_times
from edgeprune.errors import EdgepruneError
from tests.engine.trt.conftest import HERE

RECORDED = HERE / "recorded"


def _text(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "precisions", "reformats"),
    [
        ("inspector_8.json", ["fp32", "int8", "int8", "int8", "fp32", "fp32"], [0, 3]),
        ("inspector_10.json", ["fp32", "int8", "fp16", "fp16"], [0]),
        ("inspector_11.json", ["int8", "fp16"], []),
        ("inspector_dynamic.json", ["int8", "unknown"], []),
    ],
)
def test_precision_really_used(file: str, precisions: list[str], reformats: list[int]) -> None:
    layers = read_inspection(_text(file))
    assert [layer.precision for layer in layers] == precisions
    assert [index for index, layer in enumerate(layers) if layer.reformat] == reformats


def test_names_go_back_to_the_graph_by_metadata_or_by_the_fusions_name() -> None:
    nodes = {"stem.0": "Conv", "relu": "Relu", "a.0": "Conv", "add": "Add", "pool": "GlobalAveragePool", "head": "Gemm"}
    rows, _ = engine_layers(read_inspection(_text("inspector_8.json")), nodes, None, None, None)
    assert [row.layer for row in rows] == [rows[0].name, "stem.0", "a.0", rows[3].name, "pool", "head"]
    assert rows[1].nodes == ["stem.0", "relu"]
    nodes = {"stem.0": "Conv", "relu": "Relu", "pool0": "MaxPool", "norm": "LayerNormalization", "a.0": "Conv"}
    rows, _ = engine_layers(read_inspection(_text("inspector_10.json")), nodes, None, None, None)
    assert [row.layer for row in rows] == [rows[0].name, "stem.0", "a.0", "norm"]
    assert rows[1].nodes == ["stem.0", "relu", "pool0"]
    assert all(row.ms is None and row.sparse is None for row in rows)


def test_time_is_joined_and_what_is_nobodys_is_other() -> None:
    times = {entry["name"]: entry["averageMs"] for entry in json.loads(_text("profile_8.json"))[1:]}
    rows, other = engine_layers(read_inspection(_text("inspector_8.json")), {}, times, None, None)
    assert sum(row.ms or 0 for row in rows) + other == pytest.approx(sum(times.values()))
    assert other == pytest.approx(0.004)
    assert int8_share(rows, other) == pytest.approx((0.02 + 0.03) / 0.08)  # the reformat from INT8 computes nothing
    assert int8_share([], 0) is None


def test_sparsity_of_a_build_log() -> None:
    found = read_sparsity(_text("build.log").splitlines())
    assert found is not None
    assert found.eligible == ["stem.0 + relu", "a.0 + add + PWN(PWN(sigmoid), mul)", "head"]
    assert found.picked == ["a.0 + add + PWN(PWN(sigmoid), mul)"]
    empty = read_sparsity(["(Sparsity) Layers eligible for sparse math: ", "(Sparsity) TRT inference plan picked "
                           "sparse implementation for layers: "])  # fmt: skip
    assert empty is not None
    assert (empty.eligible, empty.picked) == ([], [])
    assert read_sparsity(["nothing of it"]) is None


def test_eligible_and_picked_are_told_apart() -> None:
    found = read_sparsity(_text("build.log").splitlines())
    assert found is not None
    rows, _ = engine_layers(
        read_inspection(json.dumps({"Layers": [{"Name": name} for name in (*found.eligible, "pool")]})),
        {}, None, found.eligible, found.picked,
    )  # fmt: skip
    assert [(row.eligible, row.sparse) for row in rows] == [(True, False), (True, True), (True, False), (False, False)]


def test_an_engine_built_without_details_lists_names() -> None:
    (layer,) = read_inspection('{"Layers": ["stem.0 + relu"], "Bindings": []}')
    assert (layer.name, layer.precision) == ("stem.0 + relu", "unknown")


@pytest.mark.parametrize("text", ["", "[]", '{"Bindings": []}', "no json"])
def test_what_is_no_inspection_is_one_line(text: str) -> None:
    with pytest.raises(EdgepruneError, match="no list of layers"):
        read_inspection(text)


def test_trtexecs_queries_are_summarised_as_its_own_summary_does() -> None:
    times = read_times(RECORDED / "export_times.json", 1, graph=True)
    latency = np.array([0.53 + 0.01 * index for index in range(20)])
    assert times.latency_ms.median == pytest.approx(np.median(latency))
    assert times.latency_ms.p90 == pytest.approx(latency[17])  # 20 - 1 - int(0.1 * 20)
    assert times.latency_ms.p99 == pytest.approx(latency[19])
    assert times.copy_in_ms.mean == pytest.approx(0.02)
    assert times.throughput_per_s == pytest.approx(20 / (1e-3 * latency.sum()), rel=1e-4)
    assert not times.enqueue_bound
    assert times.unstable


def test_another_file_is_not_trtexecs() -> None:
    with pytest.raises(EdgepruneError, match="not what trtexec exports"):
        read_times(RECORDED / "inspector_8.json", 1, graph=True)
