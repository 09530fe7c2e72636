"""Compaction against the masked network, on networks with one difficulty each."""

from __future__ import annotations

import random

import pytest
import torch

from edgeprune.compact import rewrite
from edgeprune.compact.apply import compact, compact_soundly
from edgeprune.compact.check import prove
from edgeprune.compact.rewrite import cut
from edgeprune.errors import EdgepruneError
from edgeprune.model.branches import mark_removable
from edgeprune.model.groups import Group, channel_groups
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import load, save, trace
from edgeprune.pruning.cuts import Cuts
from edgeprune.spec.recipe import AttentionCut
from tests.zoo import SHAPE, ZOO, build


def _some_units(groups, seed: int) -> frozenset[int]:
    draw = random.Random(seed)
    return frozenset(
        unit for group in groups for unit in draw.sample(group.units, draw.randint(0, len(group.units) - 1))
    )


WITH_HEADS = (
    "FusedAttention",
    "ModuleAttention",
    "BiasedAttention",
    "TalkingHeads",
    "GroupedQueries",
    "Einsum",
    "Windows",
)


@pytest.mark.parametrize(
    ("name", "attention"), [*((name, "dims") for name in ZOO), *((name, "heads") for name in WITH_HEADS)]
)
def test_random_cuts_are_proven_and_make_the_network_smaller(name: str, attention: AttentionCut) -> None:
    traced = trace(build(name), SHAPE)
    found = provenance(traced, attention=attention)
    groups = channel_groups(found)
    assert groups
    x = torch.randn(3, *SHAPE)
    for seed in range(6):
        units = _some_units(groups, seed)
        assert prove(traced.module, cut(traced.module, found, units), found, units, x).float64 <= 1e-9
    thin, proof = compact(traced, found, units, x)
    assert proof.float64 <= 1e-9
    before, after = (sum(p.numel() for p in t.module.parameters()) for t in (traced, thin))
    assert after < before or not units


def test_groups_whose_cuts_cannot_be_proven_are_left_whole_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewrite is broken on purpose: depthwise convolutions keep their number of groups."""
    monkeypatch.setitem(rewrite._REWRITES, "conv2d", lambda _node, _keeps: None)
    traced = trace(build("Depthwise"), SHAPE)
    found = provenance(traced)

    def half(groups: list[Group]) -> Cuts:
        return Cuts(frozenset(unit for group in groups for unit in group.units[::2]), {}, {})

    done = compact_soundly(traced, found, channel_groups(found), half, torch.randn(2, *SHAPE))
    assert set(done.refused) == {"expand.0"}
    assert done.cuts.units
    assert done.traced.module.get_parameter("expand.0.weight").shape[0] == 16
    assert done.traced.module.get_parameter("project.weight").shape[0] == 6


def test_a_compacted_network_loads_without_its_class_and_trains(tmp_path) -> None:
    traced = trace(build("OptionA"), SHAPE)
    found = provenance(traced)
    thin, _ = compact(traced, found, _some_units(channel_groups(found), 1), torch.randn(2, *SHAPE))
    save(thin, tmp_path / "thin.pt2")
    again = load(tmp_path / "thin.pt2")
    x, y = torch.randn(16, *SHAPE), torch.randint(0, 5, (16,))
    assert torch.equal(again.module(x), thin.module(x))
    optimizer = torch.optim.SGD(again.module.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(again.module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_proof_names_the_first_node_that_differs() -> None:
    traced = trace(build("Residual"), SHAPE)
    found = provenance(traced)
    units = _some_units(channel_groups(found), 2)
    thin = cut(traced.module, found, units)
    broken = next(n for n in thin.graph.nodes if n.name == "relu_2")
    broken.target = torch.ops.aten.abs.default
    thin.recompile()
    with pytest.raises(EdgepruneError, match="first at node relu_2"):
        prove(traced.module, thin, found, units, torch.randn(2, *SHAPE))


def test_a_zero_channel_of_an_option_a_shortcut_goes_with_the_channel_it_is_added_to() -> None:
    traced = trace(build("OptionA"), SHAPE)
    found = provenance(traced)
    # Output channel 1 of the block's last convolution has only a zero of the shortcut beside it.
    unit = int(found.axes["b.0.weight"][0][1])
    thin, _ = compact(traced, found, frozenset({unit}), torch.randn(2, *SHAPE))
    pad = next(n for n in thin.module.graph.nodes if n.target == torch.ops.aten.pad.default)
    assert list(pad.args[1]) == [0, 0, 0, 0, 2, 5]
    assert thin.module.get_parameter("stem.0.weight").shape[0] == 8


def _group(groups: list[Group], name: str) -> Group:
    return next(group for group in groups if group.name == name)


@pytest.mark.parametrize(
    ("name", "gone", "left"),
    [
        ("Residual", ["a.0"], "b.0.weight"),  # a branch of convolutions on an identity shortcut
        ("FusedAttention", ["up"], "down.weight"),  # the hidden width of a block
        ("FusedAttention", ["qkv"], "project.weight"),  # an attention
        ("TokenMixing", ["gate"], "out.weight"),
        ("Concat", ["b.0"], None),  # a piece of a concatenation
    ],
)
def test_a_branch_of_which_nothing_is_left_is_its_bias(name: str, gone: list[str], left: str | None) -> None:
    traced = trace(build(name), SHAPE)
    found = provenance(traced)
    groups = mark_removable(traced, found, channel_groups(found))
    assert all(_group(groups, each).removable for each in gone)
    units = frozenset(unit for each in gone for unit in _group(groups, each).units)
    thin, proof = compact(traced, found, units, torch.randn(3, *SHAPE))
    assert proof.float64 <= 1e-9
    names = dict(thin.module.named_parameters())
    assert left not in names
    assert not [n for n in names if n.startswith(tuple(f"{each}." for each in gone))]


def test_a_branch_whose_output_is_zero_leaves_no_addition() -> None:
    module = build("Residual")
    for part in module.b:
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.zero_()
            torch.nn.init.zeros_(part.bias)
    traced = trace(module, SHAPE)
    found = provenance(traced)
    units = frozenset(_group(channel_groups(found), "a.0").units)
    thin, _ = compact(traced, found, units, torch.randn(3, *SHAPE))
    before, after = (sum("add" in n.name for n in t.module.graph.nodes) for t in (traced, thin))
    assert after == before - 1


def test_a_residual_stream_may_not_go_whole() -> None:
    traced = trace(build("Residual"), SHAPE)
    found = provenance(traced)
    groups = mark_removable(traced, found, channel_groups(found))
    assert not _group(groups, "stem.0").removable
    units = frozenset(_group(groups, "stem.0").units)
    with pytest.raises(EdgepruneError, match="compaction failed"):
        compact(traced, found, units, torch.randn(3, *SHAPE))
