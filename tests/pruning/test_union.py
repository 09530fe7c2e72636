"""The choice under union coupling: one ranking, true figures, limits held and refusals in one line."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgeprune.api.cutting import prune
from edgeprune.compact.apply import compact, compact_soundly
from edgeprune.errors import EdgepruneError
from edgeprune.model.count import macs, params
from edgeprune.model.networks.cifar_resnet import CifarResNet
from edgeprune.model.traced import Traced, trace
from edgeprune.pipeline.options import recipe_from
from edgeprune.pruning import magnitude
from edgeprune.pruning.coupling import check, choose, smallest
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget
from edgeprune.spec.recipe import LayerRule
from tests.zoo import SHAPE, ZOO, build


def _random_scores(ground: Prunable, seed: int) -> Scores:
    generator = torch.Generator().manual_seed(seed)
    return Scores({g.name: torch.rand(len(g.units), generator=generator, dtype=torch.float64) for g in ground.groups})


@pytest.mark.parametrize("name", [n for n in ZOO if n != "Unknown"])
def test_what_is_reached_is_what_the_compacted_network_has(name: str) -> None:
    traced = trace(build(name), SHAPE)
    ground = prunable(traced, coupling="union")
    budget = Budget(macs=0.7, params=0.8)
    cuts = choose(ground, _random_scores(ground, 1), budget, Limits(2, 0.9), ground.groups)
    thin, _ = compact(traced, ground.found, cuts.units, torch.randn(2, *SHAPE))
    assert macs(thin) / macs(traced) == pytest.approx(cuts.reached["macs"])
    assert params(thin) / params(traced) == pytest.approx(cuts.reached["params"])
    assert cuts.reached["macs"] <= 0.7
    assert cuts.reached["params"] <= 0.8


def test_a_sum_that_no_parameter_knows_counts_in_products_of_activations() -> None:
    class Meet(nn.Module):
        """The values of an attention are a sum that only the attention reads."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = (nn.Conv2d(3, 12, 3) for _ in range(3))
            self.head = nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            value = (self.a(x) + self.b(x)).flatten(2)
            seen = self.stem(x).flatten(2).mean(1, keepdim=True)
            return self.head((value @ seen.transpose(1, 2)).flatten(1))

    traced = trace(Meet().eval(), SHAPE)
    ground = prunable(traced, coupling="union")
    cuts = choose(ground, _random_scores(ground, 0), Budget(macs=0.6), Limits(1, 0.9), ground.groups)
    thin, _ = compact(traced, ground.found, cuts.units, torch.randn(2, *SHAPE))
    assert macs(thin) == round(macs(traced) * cuts.reached["macs"])


def _resnet() -> Traced:
    torch.manual_seed(0)
    return trace(CifarResNet(3, 10, 3), (3, 16, 16))


def _streams(traced: Traced) -> list[int]:
    """How many channels of the stream each block of a ResNet reads, then the classifier."""
    weights = dict(traced.module.named_parameters())
    blocks = [f"layer{stage}.{unit}.conv1.weight" for stage in (1, 2, 3) for unit in (0, 1, 2)]
    return [weights[name].shape[1] for name in [*blocks, "linear.weight"]]


def test_streams_grow_along_depth_where_groups_keep_one_width() -> None:
    traced, widths, reached = _resnet(), {}, {}
    for coupling in ("group", "union"):
        ground = prunable(traced, coupling=coupling)
        scores = magnitude.scores(traced.module, ground.groups)

        def chosen(free, ground=ground, scores=scores):
            return choose(ground, scores, Budget(params=0.1), Limits(1, 0.95), free)

        done = compact_soundly(traced, ground.found, ground.groups, chosen, torch.randn(2, 3, 16, 16))
        assert params(done.traced) == round(done.cuts.reached["params"] * params(traced))
        widths[coupling], reached[coupling] = _streams(done.traced), done.cuts.reached["params"]
        assert (done.spread > 0) == (coupling == "union")
    group, union = widths["group"], widths["union"]
    assert len(set(group[:4])) == len(set(group[4:7])) == len(set(group[7:])) == 1
    assert union == sorted(union)
    assert union[0] < union[1] <= union[2]
    # One parameter more or less is all that a channel costs at this size.
    assert all(0.095 < value <= 0.1 for value in reached.values())


def test_the_lowest_scores_go_first_and_capped_layers_keep_their_best() -> None:
    traced = _resnet()
    ground = prunable(traced, coupling="union")
    scores = _random_scores(ground, 0)
    scores.value["layer1.1.conv2"].mul_(1e-6)  # all of it falls below any threshold
    cuts = choose(ground, scores, Budget(sparsity=0.5), Limits(1, 0.75), ground.groups)
    assert cuts.reached["sparsity"] >= 0.5
    assert cuts.kept["layer1.1.conv2"] == (4, 16)
    gone, stay = [], []
    for group in ground.groups:
        value = scores.value[group.name]
        cut = torch.tensor([unit in cuts.units for unit in group.units])
        kept, total = cuts.kept[group.name]
        assert int((~cut).sum()) == kept
        assert float(value[cut].max()) < float(value[~cut].min())
        if kept > math.ceil(total / 4):  # not at its floor: the threshold decides
            gone.append(float(value[cut].max()))
            stay.append(float(value[~cut].min()))
    assert max(gone) < min(stay) + 0.05  # what was given back at the end may lie beyond it


def test_widths_follow_rules_and_multiples() -> None:
    traced = _resnet()
    rules = (LayerRule(pattern="layer1.0.conv2", min_channels=12), LayerRule(pattern="layer2*", max_sparsity=0.25))
    ground = prunable(traced, ("layer3.0.conv1",), rules, coupling="union")
    cuts = choose(ground, _random_scores(ground, 2), Budget(params=0.6), Limits(4, 0.95, rules), ground.groups)
    assert cuts.kept["layer1.0.conv2"][0] >= 12
    assert "layer3.0.conv1" not in cuts.kept
    assert all(kept % 4 == 0 for kept, _ in cuts.kept.values())
    assert all(kept >= 24 for name, (kept, _) in cuts.kept.items() if name.startswith("layer2"))
    whole = {"layer3.2.conv2"}
    free = [group for group in ground.groups if group.name not in whole]
    left = choose(ground, _random_scores(ground, 2), Budget(params=0.7), Limits(4, 0.95, rules), free)
    assert left.kept["layer3.2.conv2"] == (64, 64)


def test_a_budget_out_of_reach_says_what_can_be_reached() -> None:
    ground = prunable(trace(build("Residual"), SHAPE), coupling="union")
    scores, limits = _random_scores(ground, 0), Limits(8, 0.5)
    with pytest.raises(EdgepruneError, match=r"--macs 0.01 cannot be met: (0\.\d+) is the least"):
        choose(ground, scores, Budget(macs=0.01), limits, ground.groups)
    with pytest.raises(EdgepruneError, match=r"--macs 0.01 cannot be met"):
        check(ground, Budget(macs=0.01), limits)
    least = smallest(ground, limits, scores)["macs"]
    cuts = choose(ground, scores, Budget(macs=least), limits, ground.groups)
    assert cuts.reached["macs"] == pytest.approx(least)
    with pytest.raises(EdgepruneError, match="cannot be met"):
        choose(ground, scores, Budget(macs=least * 0.999), limits, ground.groups)


def test_without_sums_both_couplings_know_the_same_groups() -> None:
    traced = trace(build("Concat"), SHAPE)
    group, union = (prunable(traced, coupling=coupling) for coupling in ("group", "union"))
    assert [g.units for g in group.groups] == [g.units for g in union.groups]
    assert union.joined == []


@pytest.mark.parametrize("limit", ["memory_mb", "latency_ms"])
def test_limits_that_do_not_count_the_spreading_are_refused_in_one_line(limit: str) -> None:
    option = f"--{limit.replace('_', '-')}"
    calls: list[Callable[[], object]] = [
        lambda: recipe_from({"coupling": "union", limit: 1.0, "target": "jetson-orin-nano"}),
        lambda: prune(build("Residual"), torch.randn(1, *SHAPE), coupling="union", **{limit: 1.0}),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(EdgepruneError, match=f"{option} does not count .* take --coupling group") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_python_api_cuts_each_layer_alone() -> None:
    module, x = build("Residual"), torch.randn(2, *SHAPE)
    thin = prune(module, x, params=0.5, coupling="union", multiple=1)
    weights = dict(thin.named_parameters())
    assert sum(p.numel() for p in weights.values()) <= 0.5 * sum(p.numel() for p in module.parameters())
    assert weights["c.0.weight"].shape[1] > weights["a.0.weight"].shape[1]
    sized = prune(module, x, size_mb=0.012, coupling="union", multiple=1, precision="fp32")
    assert sum(p.numel() for p in sized.parameters()) < sum(p.numel() for p in module.parameters())
    with pytest.raises(EdgepruneError, match="coupling='both' is unknown"):
        prune(module, x, coupling="both")  # type: ignore[arg-type]
    with pytest.raises(EdgepruneError, match="coupling is about channels"):
        prune(module, x, pattern="2:4", coupling="union")
