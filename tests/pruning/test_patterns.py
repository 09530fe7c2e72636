"""Masks against their brute-force twins."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeprune.errors import EdgepruneError
from edgeprune.pruning.patterns import lowest, n_of_m

SEEDS = st.integers(0, 10_000)
KERNELS = st.sampled_from([(), (1, 1), (3, 3), (2, 3)])


def _scores(shape: tuple[int, ...], seed: int, coarse: bool) -> Tensor:
    """Random scores; coarse ones have many ties."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (scores * 4).round() if coarse else scores


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), KERNELS, st.integers(2, 5), SEEDS, st.booleans(), st.data())
def test_n_of_m_keeps_the_best_n_of_every_group_of_inputs(
    outputs: int, groups: int, kernel: tuple[int, ...], group: int, seed: int, coarse: bool, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, group - 1))
    score = _scores((outputs, groups * group, *kernel), seed, coarse)
    mask = n_of_m(score, kept, group)
    assert mask.shape == score.shape
    for out, start in itertools.product(range(outputs), range(0, groups * group, group)):
        for place in itertools.product(*map(range, kernel)):
            values = [float(score[(out, start + i, *place)]) for i in range(group)]
            order = sorted(range(group), key=lambda i: (-values[i], i))
            expected = [i in order[:kept] for i in range(group)]
            assert [bool(mask[(out, start + i, *place)]) for i in range(group)] == expected


def _brute_force(scores: dict[str, Tensor], rows: int, zeros: float, most: float) -> dict[str, Tensor]:
    """Take blocks off one at a time, the cheapest per weight of those that their layer may still lose."""
    blocks = []
    for layer, (name, score) in enumerate(scores.items()):
        if rows:
            places = [(slice(r, r + rows), i) for r in range(0, score.shape[0], rows) for i in range(score.shape[1])]
        else:
            places = list(itertools.product(*map(range, score.shape)))
        for index, place in enumerate(places):
            blocks.append((float(score[place].mean()), layer, index, name, place))
    masks = {name: torch.ones(score.shape, dtype=torch.bool) for name, score in scores.items()}
    count = {name: sum(block[3] == name for block in blocks) for name in scores}
    lost = dict.fromkeys(scores, 0)
    total = sum(score.numel() for score in scores.values())
    for _, _, _, name, place in sorted(blocks):
        if sum(int((~mask).sum()) for mask in masks.values()) >= zeros * total - 1e-6:
            break
        if lost[name] < math.floor(most * count[name]):
            masks[name][place] = False
            lost[name] += 1
    return masks


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5), KERNELS), min_size=1, max_size=3),
    st.sampled_from([0, 2, 3]),
    st.sampled_from([0.1, 0.5, 0.6]),
    st.sampled_from([0.75, 1.0]),
    SEEDS,
    st.booleans(),
)
def test_blocks_and_weights_go_by_score_over_all_layers(
    shapes: list[tuple[int, int, tuple[int, ...]]], rows: int, zeros: float, most: float, seed: int, coarse: bool
) -> None:
    scores = {
        f"layer{i}": _scores((outputs * (rows or 2), inputs, *kernel), seed + i, coarse and not rows)
        for i, (outputs, inputs, kernel) in enumerate(shapes)
    }
    expected = _brute_force(scores, rows, zeros, most)
    reached = sum(int((~mask).sum()) for mask in expected.values())
    if reached < zeros * sum(score.numel() for score in scores.values()) - 1e-6:
        with pytest.raises(EdgepruneError, match="cannot be reached"):
            lowest(scores, rows, zeros, most)
        return
    found = lowest(scores, rows, zeros, most)
    assert all(torch.equal(found[name], expected[name]) for name in scores)


def test_no_layer_loses_more_than_its_cap() -> None:
    scores = {"weak": torch.full((4, 10), 0.1), "strong": torch.full((4, 10), 5.0)}
    found = lowest(scores, 0, 0.5, 0.8)
    assert int((~found["weak"]).sum()) == 32
    assert int((~found["strong"]).sum()) == 8


def test_a_block_is_the_whole_kernel_of_one_input_in_consecutive_outputs() -> None:
    score = torch.ones(4, 3, 3, 3)
    score[2:, 1] = 0.1
    found = lowest({"conv": score}, 2, 0.1, 1.0)["conv"]
    assert not found[2:, 1].any()
    assert int((~found).sum()) == 2 * 9
