"""Provenance: which channels go together, read from data flow."""

from __future__ import annotations

import torch

from edgeprune.model.groups import channel_groups
from edgeprune.model.labels import Labels
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import trace
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
    assert set(groups) == {"b.0"}
    assert any("cumsum" in why for why in found.frozen.values())
    assert any("layer_norm" in why for why in found.frozen.values())


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
