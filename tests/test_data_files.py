"""Every shipped target and profile is sound."""

from __future__ import annotations

import re

import pytest

from edgeprune.report.catalogue import facts
from edgeprune.spec.layer_costs import LayerCosts
from edgeprune.spec.profile import Profile
from edgeprune.spec.shipped import shipped
from edgeprune.spec.speeds import TABLES, measured
from edgeprune.spec.strict import read_json
from edgeprune.spec.target import ALIASES, known_targets, load_target

PROFILES = sorted(shipped("profiles").glob("**/*.json"))
SOURCED = re.compile(r"NVIDIA|ONNX Runtime|onnx|TensorRT|Linux kernel|computed|measured|dot product kernels|registers")


def test_the_promised_targets_are_there():
    assert known_targets() == [
        "cpu-arm64",
        "cpu-x86-avx2",
        "cpu-x86-vnni",
        "jetson-agx-orin",
        "jetson-orin-nano",
        "jetson-orin-nx",
        "jetson-thor",
        "rtx-3060",
        "rtx-4070",
        "rtx-4090",
        "rtx-5090",
    ]


@pytest.mark.parametrize("name", known_targets())
def test_a_target_is_sound(name):
    target = load_target(name)
    assert target.name == name
    assert target.kind == {"cpu": "cpu", "jet": "jetson", "rtx": "gpu"}[name[:3]]
    assert len(facts(target)) >= 6
    for fact, stated in facts(target).items():
        assert SOURCED.search(stated.source), f"{fact}: {stated.source}"
    # what torch.onnx.export writes at the least, and what TensorRT 10 takes at the most
    assert 18 <= target.opset.value <= 20
    assert target.channel_multiple.value % 8 == 0
    assert "int8" in target.precisions.value
    assert target.weight_bits.value == (7 if name == "cpu-x86-avx2" else 8)


@pytest.mark.parametrize("name", [name for name in known_targets() if not name.startswith("cpu")])
def test_a_tensorrt_target_has_what_a_roofline_needs(name):
    target = load_target(name)
    assert target.runtime == "tensorrt"
    assert target.activations.value == "signed"
    assert target.memory_gib is not None
    assert target.bandwidth_gb_s is not None
    assert target.int8_tops_dense is not None
    assert target.compute_capability is not None
    assert target.power_w is not None
    assert target.software is not None


@pytest.mark.parametrize(
    "name",
    ["jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "rtx-3060", "rtx-4070", "rtx-4090", "rtx-5090"],
)
def test_computed_speeds_are_what_their_source_computes(name):
    fact = load_target(name).int8_tops_dense
    assert fact is not None
    terms = re.match(r"computed: (\d+) SMs x (\d+) op/clk x ([\d.]+) GHz", fact.source)
    assert terms
    multiprocessors, operations, gigahertz = (float(term) for term in terms.groups())
    assert fact.value == pytest.approx(multiprocessors * operations * gigahertz / 1000, rel=0.005)


@pytest.mark.parametrize("name", [name for name in known_targets() if name.startswith("cpu")])
def test_a_cpu_target_names_its_flags(name):
    target = load_target(name)
    assert target.runtime == "onnxruntime"
    assert target.activations.value == "unsigned"
    assert target.cpu_flags is not None
    assert target.cpu_flags.value


def test_aliases_resolve():
    assert ALIASES["jetson-orin"] == "jetson-agx-orin"
    for alias, name in ALIASES.items():
        assert alias not in known_targets()
        assert load_target(alias) == load_target(name)


def test_profiles_are_sound():
    for path in PROFILES:
        assert path.stat().st_size <= 50_000
        is_table = path.parent.name == TABLES
        found = read_json(LayerCosts if is_table else Profile, path)
        assert found.target == (path.parents[1] if is_table else path.parent).name
        target = load_target(found.target)
        if isinstance(found, Profile):
            assert found.machine.matches_target
            assert found.model_sha256.startswith(path.stem.rpartition("-")[2])
            assert found.latency_ms.settled
        assert measured(target, found.precision, None)
