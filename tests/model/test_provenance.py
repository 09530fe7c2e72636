"""Provenance: which channels go together, read from data flow."""

from __future__ import annotations

import pytest
import torch

from edgeprune.model.groups import channel_groups
from edgeprune.model.labels import Labels
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import trace
from edgeprune.spec.recipe import AttentionCut
from tests.zoo import SHAPE, build


def _groups(name: str, keep: tuple[str, ...] = ()):
    found = provenance(trace(build(name), SHAPE), keep)
    return found, {group.name: group for group in channel_groups(found)}


def test_an_identity_shortcut_couples_its_ends() -> None:
    _, groups = _groups("Residual")
    assert groups["stem.0"].producers == ("stem.0.weight", "b.0.weight")
    assert groups["d"].producers == ("d.weight", "project.weight")
    assert groups["a.0"].producers == ("a.0.weight",)


def test_option_a_couples_channels_at_their_offset() -> None:
    found, _ = _groups("OptionA")
    stem, block = found.axes["stem.0.weight"][0], found.axes["b.0.weight"][0]
    assert torch.equal(block[3:11], stem)
    assert len(set(block.tolist())) == 16


def test_grouped_convolutions_couple_equal_positions() -> None:
    _, groups = _groups("Grouped")
    assert len(groups["b.0"].units) == 6  # 24 outputs in four groups, cut alike
    assert groups["b.0"].width(("b.0.weight", 0)) == 4


def test_depthwise_passes_labels_through_and_counts_the_multiplier() -> None:
    _, groups = _groups("Depthwise")
    assert groups["expand.0"].width(("twice.0.weight", 0)) == 2
    assert groups["expand.0"].width(("project.weight", 1)) == 2


def test_a_flattened_channel_is_all_its_columns() -> None:
    _, groups = _groups("Flat")
    assert groups["b.0"].width(("hidden.weight", 1)) == 9


def test_a_map_over_all_channels_is_frozen_and_a_gate_is_its_channel() -> None:
    found, groups = _groups("Gate")
    assert "where" not in groups
    assert torch.equal(found.axes["up.weight"][0], found.axes["a.0.weight"][0])


def test_an_operator_without_a_rule_freezes_what_it_touches_and_nothing_else() -> None:
    found, groups = _groups("Unknown")
    assert set(groups) == {"b.0", "c.0"}
    assert any("sort" in why for why in found.frozen.values())


def test_statistics_over_channels_are_reported_or_kept_whole() -> None:
    found, _ = _groups("Unknown")
    assert found.approximate == {"layer_norm": "layer normalisation, in norm"}
    exact = provenance(trace(build("Unknown"), SHAPE), statistics=False)
    assert not exact.approximate
    assert exact.frozen["layer_norm"] == "kept: layer normalisation, in norm"
    assert {group.name for group in channel_groups(exact)} == {"b.0"}


@pytest.mark.parametrize(
    ("name", "attention", "units"),
    [
        ("FusedAttention", "dims", {"patch": 24, "qkv": 8, "up": 40}),
        ("FusedAttention", "heads", {"patch": 24, "qkv": 3, "up": 40}),
        ("ModuleAttention", "dims", {"patch": 24, "attention": 8}),
        ("ModuleAttention", "heads", {"patch": 24, "attention": 3}),
        ("BiasedAttention", "dims", {"patch": 24, "q": 8}),
        ("BiasedAttention", "heads", {"patch": 24, "q": 3}),
        ("TalkingHeads", "dims", {"patch": 24, "qkv": 6, "before": 4}),
        ("TalkingHeads", "heads", {"patch": 24, "qkv": 4, "before": 4}),
        ("GroupedQueries", "dims", {"patch": 24, "q": 4, "v": 8}),
        ("GroupedQueries", "heads", {"patch": 24, "q": 3}),
        ("ChannelAttention", "dims", {"patch": 24, "qkv": 4}),
        ("TokenMixing", "dims", {"patch": 24, "gate": 32}),
        ("Einsum", "dims", {"patch": 24, "q": 8, "v": 8}),
        ("Einsum", "heads", {"patch": 24, "q": 3}),
        ("Windows", "heads", {"stem": 24, "qkv": 3}),
        ("Norms", "dims", {"a": 8, "b": 12, "c": 16, "d": 12}),
        ("Computed", "dims", {"a": 16, "b": 24}),
        ("Upwards", "dims", {"a.0": 16, "up": 4, "b.0": 16, "c": 12}),
        ("WholeGroups", "dims", {"a.0": 12, "c.0": 16, "d.0": 8}),
    ],
)
def test_how_many_units_each_group_has(name: str, attention: AttentionCut, units: dict[str, int]) -> None:
    groups = channel_groups(provenance(trace(build(name), SHAPE), attention=attention))
    assert {group.name: len(group.units) for group in groups} == units


def test_a_kernel_that_is_computed_from_its_parameter_keeps_the_parameters_name() -> None:
    module = build("Computed")
    traced = trace(module, SHAPE)
    kernel = module.b.weight
    standard = (kernel - kernel.mean((1, 2, 3), keepdim=True)) / kernel.std((1, 2, 3), keepdim=True)
    torch.testing.assert_close(traced.module.get_parameter("b.weight"), standard * module.gain)
    assert "gain" not in dict(traced.module.named_parameters())
    assert not [node for node in traced.module.graph.nodes if "std" in node.name]


def test_kept_layers_are_frozen_by_pattern() -> None:
    found, groups = _groups("Residual", keep=("ste*",))
    assert "stem.0" not in groups
    assert "a.0" in groups
    assert found.frozen["stem.0"] == "kept by request"


def test_union_find_is_transitive_and_freezes() -> None:
    labels = Labels()
    a = labels.fresh(6)
    labels.union(a[:3], a[3:])
    labels.union(a[4], a[5])
    assert labels.find(a).tolist() == [1, 2, 2, 1, 2, 2]
    labels.freeze(a[2])
    assert labels.find(a).tolist() == [1, 0, 0, 1, 0, 0]
