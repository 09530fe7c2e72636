"""Union coupling: which channels a sum joins, and what its joins stand and fall with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgeprune.model.groups import channel_groups, joined_groups
from edgeprune.model.provenance import Provenance, provenance
from edgeprune.model.traced import trace
from tests.zoo import SHAPE, build


class _Net(nn.Module):
    """Four convolutions of 8 channels and a head, put together by a function."""

    def __init__(self, way: Callable[[_Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.a, self.b = (nn.Conv2d(i, 8, 3, padding=1) for i in (3, 8, 8))
        self.gate, self.image, self.way = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1), way
        self.head, self.other = nn.Linear(8, 5), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def _found(way: Callable[[_Net, Tensor], Tensor], **options: object) -> Provenance:
    return provenance(trace(_Net(way).eval(), SHAPE), coupling="union", **options)  # type: ignore[arg-type]


def _units(found: Provenance, layer: str) -> list[int]:
    return found.axes[f"{layer}.weight"][0].tolist()


def _read(found: Provenance, layer: str) -> list[int]:
    return found.axes[f"{layer}.weight"][1].tolist()


def test_a_join_stands_on_all_that_was_added_up_to_there() -> None:
    def chain(net: _Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = (x + net.a(x)).relu()
        return net.head((x + net.b(x)).mean((2, 3)))

    found = _found(chain)
    stem, a, b = (_units(found, name) for name in ("stem", "a", "b"))
    assert [found.bases[join] for join in _read(found, "b")] == [frozenset(pair) for pair in zip(stem, a, strict=True)]
    assert [found.bases[join] for join in _read(found, "head")] == [frozenset(t) for t in zip(stem, a, b, strict=True)]
    assert len(found.sums) == 2
    assert {group.name for group in channel_groups(found)} == {"stem", "a", "b"}
    assert sum(len(group.units) for group in joined_groups(found)) == len(found.bases) == 16
    gone = found.closed(frozenset({stem[0], a[0], stem[1]}))
    assert gone == {stem[0], a[0], stem[1], _read(found, "b")[0]}


def test_the_same_sum_twice_keeps_the_same_channels() -> None:
    def twice(net: _Net, x: Tensor) -> Tensor:
        x, y = net.stem(x), net.a(net.stem(x))
        return net.head(((x + y) * (y + x).sigmoid()).mean((2, 3)))

    found = _found(twice)
    assert all(len(found.bases[join]) == 2 for join in _read(found, "head"))


def test_a_gate_over_a_sum_goes_with_it() -> None:
    def gated(net: _Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = x + net.a(x)
        return net.head((x * net.gate(x.mean((2, 3), keepdim=True)).sigmoid()).mean((2, 3)))

    found = _found(gated)
    assert _units(found, "gate") == _read(found, "head")
    assert {group.name for group in channel_groups(found)} == {"stem", "a"}


def test_a_block_used_twice_stands_on_its_own_output() -> None:
    def again(net: _Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        for _ in range(2):
            x = x + net.a(x)
        return net.head(x.mean((2, 3)))

    found = _found(again)
    a = _units(found, "a")
    assert _units(found, "stem") == _read(found, "a")
    assert [found.bases[unit] for unit in _units(found, "stem")] == [frozenset({unit}) for unit in a]
    assert [group.name for group in channel_groups(found)] == ["a"]


def test_terms_that_only_add_up_to_themselves_are_one_group() -> None:
    def closed(net: _Net, x: Tensor) -> Tensor:
        x, y = net.stem(x), net.a(net.stem(x))
        return net.head(((x + y) * x * y).mean((2, 3)))

    found = _found(closed)
    assert found.bases == {}
    assert [len(group.units) for group in channel_groups(found)] == [8]
    assert _units(found, "stem") == _units(found, "a")


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: x + net.image(net.stem(x)),
        lambda net, x: (net.image(net.stem(x)) + x).relu().flatten(1),
        lambda net, x: (net.head(net.stem(x).mean((2, 3))) + net.other(net.stem(x).mean((2, 3)))).softmax(1),
    ],
)
def test_what_adds_up_to_the_output_is_never_cut(way: Callable[[_Net, Tensor], Tensor]) -> None:
    found = _found(way)
    assert {group.name for group in channel_groups(found)} == {"stem"}


def test_a_frozen_term_keeps_the_sum_whole_and_leaves_the_others_free() -> None:
    def sorted_(net: _Net, x: Tensor) -> Tensor:
        x = torch.sort(net.stem(x), 1)[0]
        return net.head((x + net.a(x)).mean((2, 3)))

    found = _found(sorted_)
    assert {group.name for group in channel_groups(found)} == {"a"}
    assert not any(_read(found, "head"))
    kept = provenance(trace(build("Residual"), SHAPE), ("stem*",), coupling="union")
    assert {group.name for group in channel_groups(kept)} == {"a.0", "b.0", "c.0", "d", "project"}
    assert not kept.axes["c.0.weight"][1].any()


def test_the_zeros_of_an_option_a_shortcut_go_with_the_sum() -> None:
    found = provenance(trace(build("OptionA"), SHAPE), coupling="union")
    stem, last = found.axes["stem.0.weight"][0].tolist(), found.axes["b.0.weight"][0].tolist()
    bases = [found.bases[join] for join in found.axes["c.0.weight"][1].tolist()]
    assert bases == [frozenset({last[i]} | ({stem[i - 3]} if 3 <= i < 11 else set())) for i in range(16)]
    assert len(next(group for group in channel_groups(found) if group.name == "b.0").units) == 16
