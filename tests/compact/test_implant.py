"""Neural implants: what they cost, where they stand, and that nothing else changes."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeprune.compact import implant
from edgeprune.compact.apply import Compacted, compact_soundly
from edgeprune.compact.check import relative
from edgeprune.compact.implant import implanted
from edgeprune.errors import EdgepruneError
from edgeprune.model.count import macs, params
from edgeprune.model.traced import Traced, load, save, trace
from edgeprune.pruning.budget import choose
from edgeprune.pruning.implants import choose_with_implants
from edgeprune.pruning.levels import Limits, ladder
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget
from tests.zoo import SHAPE, build

DIFFICULT = (
    "Plain", "Residual", "OptionA", "Concat", "Split", "Flat", "Gate", "Shuffle", "Odd", "Norms", "Computed",
    "SplitAttention", "WholeGroups",
)  # fmt: skip
"""Networks with convolutions that can have an implant."""
LIMITS = Limits(2, 0.9)


@dataclass
class Made:
    """A network without its cut channels, before and after the implants."""

    dense: Traced
    ground: Prunable
    scores: Scores
    plain: Compacted
    done: Compacted


def _make(module: nn.Module | Traced, budget: Budget, ratio: float = 0.3, limits: Limits = LIMITS) -> Made:
    traced = module if isinstance(module, Traced) else trace(module, SHAPE)
    ground = prunable(traced)
    generator = torch.Generator().manual_seed(1)
    scores = Scores({g.name: torch.rand(len(g.units), generator=generator).double() for g in ground.groups})
    x = torch.randn(4, *SHAPE, generator=generator)

    def chosen(free):
        whole = frozenset(g.name for g in ground.groups) - {g.name for g in free}
        return choose_with_implants(ground, scores, budget, limits, whole, ratio)

    plain = compact_soundly(traced, ground.found, ground.groups, chosen, x)
    return Made(traced, ground, scores, plain, implanted(plain, ground, x))


def _implants(traced: Traced) -> dict[str, nn.Parameter]:
    return {n: p for n, p in traced.module.named_parameters() if n.endswith("implant.weight") and p.dim() > 1}


def _gathers(traced: Traced) -> int:
    return sum("index_select" in str(node.target) for node in traced.module.graph.nodes)


def _middle_taps(made: Made) -> list[float]:
    """How far the network whose implants are the middle taps of the old kernels is from the one with only those.

    For the order in which a group's channels may lie now, and for their old order.
    """
    x = torch.randn(4, *SHAPE)
    reference, found = copy.deepcopy(made.plain.traced.module), []
    plain = implant._rows(made.plain, made.ground, {})
    weights = {name: reference.get_parameter(name).detach().clone() for name in plain}
    middles = {}
    for name, weight in weights.items():
        middles[name] = weight[(..., *(n // 2 for n in weight.shape[2:]))]
        only = torch.zeros_like(weight)
        only[(..., *(n // 2 for n in weight.shape[2:]))] = middles[name]
        reference.get_parameter(name).data[plain[name]] = only[plain[name]]
    for orders in (implant._orders(made.plain, made.ground), {}):
        for name, rows in implant._rows(made.plain, made.ground, orders).items():
            moved = middles[name]
            for axis in (0, 1):
                moved = moved.index_select(axis, orders.get((name, axis), torch.arange(moved.shape[axis])))
            stored = made.done.traced.module.get_parameter(name.replace("weight", "implant.weight"))
            stored.data.copy_(moved[rows].view(stored.shape))
        wanted = reference(x).detach()
        found.append(relative(made.done.traced.module(x).detach(), wanted))
    return found


@pytest.mark.parametrize("name", DIFFICULT)
def test_the_network_is_what_the_choice_says_and_within_the_budget(name: str) -> None:
    made = _make(build(name), Budget(sparsity=0.4), ratio=0.5)
    cuts, weights = made.done.cuts, _implants(made.done.traced)
    assert cuts.reached["sparsity"] >= 0.4 - 1e-9
    assert macs(made.done.traced) / macs(made.dense) == pytest.approx(cuts.reached["macs"], rel=1e-9)
    assert params(made.done.traced) / params(made.dense) == pytest.approx(cuts.reached["params"], rel=1e-9)
    assert weights
    assert all(not bool(weight.any()) and set(weight.shape[2:]) == {1} for weight in weights.values())
    assert made.done.proof.float64 <= 1e-9
    assert min(_middle_taps(made)) <= 1e-5


@pytest.mark.parametrize("budget", [Budget(macs=0.4), Budget(params=0.4), Budget(macs=0.5, params=0.4)])
@pytest.mark.parametrize("name", ["Plain", "Residual", "OptionA"])
def test_limits_hold_with_the_implants_and_widths_stay_on_the_ladder(name: str, budget: Budget) -> None:
    made = _make(build(name), budget, limits=Limits(4, 0.9))
    cuts = made.done.cuts
    assert cuts.implanted
    assert all(cuts.reached[limit] <= asked + 1e-9 for limit, asked in budget.limits.items())
    cut = 0
    for group in made.ground.groups:
        stay, total = cuts.kept[group.name]
        own = stay - cuts.implanted.get(group.name, 0)
        assert {stay, own} <= set(ladder(group, Limits(4, 0.9)).tolist())
        value = made.scores.value[group.name]
        kinds = [
            [float(v) for v, unit in zip(value, group.units, strict=True) if unit in units]
            for units in (cuts.units, cuts.implants, set(group.units) - cuts.units - cuts.implants)
        ]
        assert [len(kind) for kind in kinds] == [total - stay, stay - own, own]
        ordered = [kind for kind in kinds if kind]
        assert all(max(worse) <= min(better) for worse, better in itertools.pairwise(ordered))
        cut += total - own
    assert sum(cuts.implanted.values()) == pytest.approx(0.3 * cut, abs=2)


def test_where_the_narrowest_cut_leaves_little_room_fewer_implants_come_in() -> None:
    module = build("Residual")
    ground = prunable(trace(module, SHAPE))
    scores = Scores({g.name: torch.arange(len(g.units)).double() for g in ground.groups})
    narrow = choose(ground.groups, scores, ground.cost, Budget(sparsity=0.8), Limits(2, 0.9))
    budget = Budget(macs=1.2 * narrow.reached["macs"])
    few = choose_with_implants(ground, scores, budget, Limits(2, 0.9), frozenset(), 0.9)
    assert 0 < sum(few.implanted.values()) < 0.5 * len(few.units)
    assert few.reached["macs"] <= budget.macs


def test_a_projection_keeps_its_rows_and_the_convolution_beside_it_gets_an_implant() -> None:
    made = _make(build("Residual"), Budget(sparsity=0.4))
    module, cuts = made.done.traced.module, made.done.cuts
    stay, count = cuts.kept["d"][0], cuts.implanted["d"]
    assert module.get_parameter("project.weight").shape[0] == stay
    assert module.get_parameter("d.weight").shape[0] == stay - count
    assert module.get_parameter("d.implant.weight").shape == (count, module.get_parameter("d.weight").shape[1], 1, 1)
    assert module.get_parameter("d.implant.bias").shape == (count,)
    assert _gathers(made.done.traced) == 0, "the channels of both were put in an order that needs none"


def test_an_implant_of_a_strided_convolution_has_its_stride_and_its_own_norm_and_activation() -> None:
    made = _make(build("Residual"), Budget(macs=0.6), ratio=0.9)
    assert "c.0" in made.done.cuts.implanted
    graph = made.done.traced.module.graph
    weight = next(n for n in graph.nodes if n.target == "c.0.implant.weight")
    layer = next(iter(weight.users))
    assert list(layer.args[3]) == [2, 2]
    kinds = []
    while "cat" not in str(layer.target):
        layer = next(iter(layer.users))
        kinds.append(str(layer.target).split(".")[1])
    assert kinds == ["batch_norm", "relu", "cat"]


class _Halves(nn.Module):
    """Channels of one group of which each half has an activation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).relu())
        return self.head(torch.cat([x[:, :8].sigmoid(), x[:, 8:].relu()], 1).mean((2, 3)))


def test_where_places_are_treated_differently_the_old_order_is_gathered() -> None:
    made = _make(_Halves(), Budget(sparsity=0.5), ratio=0.6)
    assert "b" in made.done.cuts.implanted
    assert _gathers(made.done.traced) >= 1
    assert _middle_taps(made)[1] <= 1e-5


def test_implants_train_are_saved_and_cut_again(tmp_path: Path) -> None:
    made = _make(build("OptionA"), Budget(macs=0.6))
    save(made.done.traced, tmp_path / "network.pt2")
    again = load(tmp_path / "network.pt2")
    x, y = torch.randn(16, *SHAPE), torch.randint(0, 5, (16,))
    assert torch.equal(again.module(x), made.done.traced.module(x))
    optimizer = torch.optim.SGD(again.module.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(again.module(x), y)
        optimizer.zero_grad()
        loss.backward()
        assert all(bool(weight.grad.any()) for weight in _implants(again).values())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    second = _make(again, Budget(macs=0.6), ratio=0.5)
    assert second.done.cuts.implanted
    assert second.done.proof.float64 <= 1e-9
    assert macs(second.done.traced) / macs(again) == pytest.approx(second.done.cuts.reached["macs"])


@pytest.mark.parametrize("name", ["Depthwise", "Residual"])
def test_without_a_ratio_or_a_place_for_an_implant_the_choice_is_the_plain_one(name: str) -> None:
    ratio = 0.5 if name == "Depthwise" else 0.0
    made = _make(build(name), Budget(macs=0.5), ratio)
    plain = choose(made.ground.groups, made.scores, made.ground.cost, Budget(macs=0.5), LIMITS)
    assert made.done.cuts == plain
    assert made.done is made.plain


def test_convolutions_that_have_no_place_for_an_implant() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.even, self.uneven = nn.Conv2d(3, 8, 3, padding=1, dilation=1), nn.Conv2d(8, 8, 3, padding=(1, 0))
            self.wide, self.point = nn.Conv2d(8, 8, (1, 7), padding="same"), nn.Conv2d(8, 8, 1)
            self.far, self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.Conv2d(8, 8, 3, 1, 1, groups=2)
            self.twice, self.valid = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, padding="valid")
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.point(self.wide(self.uneven(self.even(x))))
            x = self.valid(self.twice(self.twice(self.grouped(self.far(x)))))
            return self.head(x.mean((2, 3)))

    sites = prunable(trace(Net(), SHAPE)).sites
    assert {name: site.taps for name, site in sites.items()} == {"even.weight": 9, "wide.weight": 7, "far.weight": 9}


def test_a_network_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implant, "_put", lambda module, layer, rows: None)  # noqa: ARG005
    with pytest.raises(EdgepruneError, match=r"differs by .* from the one in which their channels are zero"):
        _make(build("Residual"), Budget(macs=0.5))
