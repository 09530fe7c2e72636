"""The Python API on a module that is at hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import edgeprune
from edgeprune.model.count import macs
from edgeprune.model.traced import trace
from edgeprune.train.network import Network
from tests.zoo import SHAPE, build


def _train(network: Network, steps: int = 12) -> list[float]:
    torch.manual_seed(0)
    x, y = torch.randn(32, *SHAPE), torch.randint(0, 5, (32,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    network.train()
    losses = []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    network.eval()
    return losses


def test_prune_gives_a_smaller_module_that_trains_and_saves(tmp_path: Path) -> None:
    module = build("Residual")
    x = torch.randn(4, *SHAPE)
    before = module(x)
    module.train()
    smaller = edgeprune.prune(module, x, macs=0.5, method="magnitude", keep=("d",))
    assert module.training
    module.eval()
    assert torch.equal(module(x), before)
    assert smaller.get_parameter("d.weight").shape[0] == 24
    assert sum(p.numel() for p in smaller.parameters()) < 0.7 * sum(p.numel() for p in module.parameters())
    losses = _train(smaller)
    assert losses[-1] < losses[0]
    smaller.save(tmp_path / "smaller.pt2")
    assert torch.equal(torch.export.load(tmp_path / "smaller.pt2").module()(x), smaller(x))


def test_hap_takes_images_and_says_so_when_it_has_none() -> None:
    module, x = build("OptionA"), torch.randn(16, *SHAPE)
    with pytest.raises(edgeprune.EdgepruneError, match="labelled images"):
        edgeprune.prune(module, x, method="hap")
    smaller = edgeprune.prune(module, x, params=0.6, method="hap", data=(x, torch.randint(0, 5, (16,))), probes=4)
    share = sum(p.numel() for p in smaller.parameters()) / sum(p.numel() for p in module.parameters())
    assert share <= 0.6


@pytest.mark.parametrize(("target", "lowering"), [("cpu-x86-avx2", "onnxruntime"), ("jetson-orin-nano", "tensorrt")])
def test_quantize_and_export_make_a_bundle(target: str, lowering: str, tmp_path: Path) -> None:
    x = torch.randn(16, *SHAPE)
    network = edgeprune.quantize(build("Plain"), x, [x], target)
    losses = _train(network)
    assert losses[-1] < losses[0]
    bundle = edgeprune.export(
        network, x[:4], tmp_path / "bundle", target, labels="abcde", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    assert bundle.manifest.lowering == lowering
    assert bundle.manifest.precision == "int8"
    assert bundle.labels == list("abcde")
    assert bundle.manifest.macs == macs(trace(build("Plain"), SHAPE)) > 0
    if target == "cpu-x86-avx2":
        assert edgeprune.profile(tmp_path / "bundle", seconds=0.2).golden.checked == 4


def test_a_network_in_training_mode_goes_on_to_the_next_verb(tmp_path: Path) -> None:
    x = torch.randn(16, *SHAPE)
    small = edgeprune.prune(build("Residual"), x).train()
    assert small.training
    int8 = edgeprune.quantize(small, x, [x], "cpu-x86-avx2").train()
    assert small.training
    edgeprune.export(int8, x[:2], tmp_path / "b", "cpu-x86-avx2", labels="abcde", mean=(0.5,) * 3, std=(0.5,) * 3)
    assert edgeprune.prune(small, x, macs=0.7).get_parameter("head.weight").shape[0] == 5


def test_a_pattern_that_matches_nothing_is_told() -> None:
    with pytest.warns(UserWarning, match="keep 'haed\\*' matches no layer"):
        edgeprune.prune(build("Plain"), torch.randn(2, *SHAPE), keep=("haed*",))


def test_bad_arguments_are_one_line() -> None:
    module, x = build("Plain"), torch.randn(2, *SHAPE)
    for arguments, text in (
        ({"size_mb": 1e-4, "macs": 0.9}, r"--size-mb 0\.0001 cannot be met: 0\.00\d+ is the least"),
        ({"latency_ms": 1.0}, "latency_ms needs a target"),
        ({"latency_ms": 1.0, "target": "cpu-x86-avx2"}, "states no int8_tops_dense and bandwidth_gb_s"),
        ({"layers": ({"pattern": "aa"},)}, "layers: says nothing"),
        ({"layers": ({"pattern": "heid", "keep": True},)}, "layers 'heid' matches no layer. Near it: head"),
        ({"macs": 1.5}, "between 0 and 1"),
        ({"method": "best"}, "method='best' is unknown"),
        ({"macs": 0.001}, "is the least that can be reached"),
    ):
        with pytest.raises(edgeprune.EdgepruneError, match=text):
            edgeprune.prune(module, x, **arguments)
    with pytest.raises(edgeprune.EdgepruneError, match="batch axis"):
        edgeprune.prune(module, 3)
    with pytest.raises(edgeprune.EdgepruneError, match="unknown option 'speed'"):
        edgeprune.compress(speed=3)


def test_milliseconds_come_from_a_profile_of_the_dense_network(tmp_path: Path) -> None:
    module, x, target = build("Plain"), torch.randn(16, *SHAPE), "cpu-x86-avx2"
    whole = edgeprune.quantize(module, x, [x], target)
    edgeprune.export(whole, x[:4], tmp_path / "whole", target, labels="abcde", mean=(0.5,) * 3, std=(0.5,) * 3)
    profile = edgeprune.profile(tmp_path / "whole", seconds=0.2)
    assert {"a", "b", "head"} <= {row.name for row in profile.layers}
    file = tmp_path / "profile.json"
    # A layer of microseconds is measured in whole ones: make them large enough to halve.
    rows = [{"name": row.name, "ms": 1.0 if row.name in {"a", "b", "head"} else 0.1} for row in profile.layers]
    document = profile.model_dump(mode="json", by_alias=True) | {"layers": rows}
    file.write_text(json.dumps(document), encoding="utf-8")
    rest = 0.1 * (len(rows) - 3)
    small = edgeprune.prune(module, x, latency_ms=rest + 1.5, target=target, latency_profile=file)
    assert small.get_parameter("b.weight").shape[0] < 24
    with pytest.raises(edgeprune.EdgepruneError, match=r"--latency-ms .* is the least that can be reached"):
        edgeprune.prune(module, x, latency_ms=rest, target=target, latency_profile=file)
    with pytest.raises(edgeprune.EdgepruneError, match="has no time of layer stem"):
        edgeprune.prune(build("Residual"), x, latency_ms=1.0, target=target, latency_profile=file)


def test_masks_hold_through_the_caller_s_own_loop_and_into_the_bundle(tmp_path: Path) -> None:
    module, x = build("Residual"), torch.randn(16, *SHAPE)
    sparse = edgeprune.prune(module, x, pattern="2:4", target="jetson-orin-nano", keep=("b.*",))
    # The stem reads the image, d has 24 inputs, and the head gives the scores.
    assert set(sparse.kept) == {"a.0.weight", "c.0.weight", "project.weight"}
    int8 = edgeprune.quantize(sparse, x, [x], "jetson-orin-nano")
    for network in (sparse, int8):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
        network.hold(optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
        assert not network.get_parameter("a.0.weight")[~network.kept["a.0.weight"]].any()
        assert network.get_parameter("b.0.weight").all()
    bundle = edgeprune.export(int8, x[:2], tmp_path / "bundle", "jetson-orin-nano", labels=list("abcde"),
                              mean=(0,) * 3, std=(1,) * 3)  # fmt: skip
    assert bundle.manifest.pattern == "2:4"
    with torch.no_grad():
        int8.get_parameter("a.0.weight").fill_(1.0)
    with pytest.raises(edgeprune.EdgepruneError, match=r"a\.0: lost its pattern 2:4"):
        edgeprune.export(int8, x[:2], tmp_path / "lost", "jetson-orin-nano", labels=list("abcde"),
                         mean=(0,) * 3, std=(1,) * 3)  # fmt: skip
    assert not (tmp_path / "lost").exists()


def test_a_mask_pattern_takes_no_budget_of_channels() -> None:
    x = torch.randn(4, *SHAPE)
    with pytest.raises(edgeprune.EdgepruneError, match="a budget of macs says nothing"):
        edgeprune.prune(build("Residual"), x, pattern="2:4", macs=0.5)
    with pytest.raises(edgeprune.EdgepruneError, match="labelled images"):
        edgeprune.prune(build("Residual"), x, pattern="unstructured", sparsity=0.8, method="hap")
    found = edgeprune.prune(build("Residual"), x, pattern="unstructured", sparsity=0.8, method="hap", probes=2,
                            data=(torch.randn(8, *SHAPE), torch.arange(8) % 5))  # fmt: skip
    gone = sum(int((~mask).sum()) for mask in found.kept.values())
    assert gone / sum(mask.numel() for mask in found.kept.values()) == pytest.approx(0.8, abs=0.001)


def test_a_saved_network_comes_back_trains_and_is_copied_whole(tmp_path: Path) -> None:
    x = torch.randn(8, *SHAPE)
    small = edgeprune.prune(build("Residual"), x, macs=0.6)
    small.save(tmp_path / "small.pt2")
    again = edgeprune.load(tmp_path / "small.pt2")
    assert torch.equal(again(x), small(x))
    again.train()
    again(x).square().sum().backward()
    twin = copy.deepcopy(again)
    assert twin.training
    assert twin.input_shape == SHAPE
    twin.eval()
    twin.save(tmp_path / "twin.pt2")
    edgeprune.quantize(edgeprune.load(tmp_path / "twin.pt2"), x, [x], "cpu-x86-avx2")


def test_what_is_frozen_in_training_stays_frozen_and_odd_norms_run() -> None:
    module = build("Plain")
    module.a.weight.requires_grad_(False)
    module.b = torch.nn.Sequential(module.b, torch.nn.BatchNorm2d(24, track_running_stats=False))
    x = torch.randn(8, *SHAPE)
    small = edgeprune.prune(module, x, macs=0.6, multiple=1)
    assert small.get_parameter("a.weight").shape[0] < 16
    assert not small.get_parameter("a.weight").requires_grad
    assert small.get_parameter("b.0.weight").requires_grad
    assert small(x).isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"attention": "x"}, "attention='x' is unknown. Known: dims, heads"),
        ({"precision": "int4"}, "precision='int4' is unknown"),
        ({"multiple": 0}, "multiple=0: 1 or more"),
        ({"max_layer_sparsity": 2.0}, "max_layer_sparsity=2: a share"),
        ({"probes": 0}, "probes=0: 2 or more"),
    ],
)
def test_choices_are_checked(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(edgeprune.EdgepruneError, match=text):
        edgeprune.prune(build("Plain"), torch.randn(2, *SHAPE), **wrong)
