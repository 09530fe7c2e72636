"""Merging channels: nothing is lost where channels repeat others, also through BatchNorm, sums and depthwise layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.compact.apply import compact
from edgeprune.merging.channels import merge_channels
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.plan import prunable
from edgeprune.reconstruction.cascade import Walking
from edgeprune.train.batch_norm import reestimate

WALKING = Walking(batch_size=64)


class Net(nn.Module):
    """A stem, a residual block with a depthwise layer inside, and a classifier behind a pooled picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.n0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.up, self.n1 = nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.deep, self.n2 = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12)
        self.down, self.n3 = nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 10, 3, padding=1)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.n0(self.stem(x)))
        y = functional.relu(self.n1(self.up(x)))
        y = functional.relu(self.n2(self.deep(y)))
        x = x + self.n3(self.down(y))
        return self.head(functional.relu(self.last(x)).mean((2, 3)))


def _network(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    module = Net().double().eval()
    for norm in (module.n0, module.n1, module.n2, module.n3):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, 0.5, 1.5)  # so that every channel lives
        norm.running_mean.normal_()  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return module


def _repeat(module: Net, layers: tuple[str, ...], norms: tuple[str, ...], to: int, of: int) -> None:
    """Make one output channel the same as another."""
    with torch.no_grad():
        for name in layers:
            layer = module.get_submodule(name)
            layer.weight[to] = layer.weight[of]
            if layer.bias is not None:
                layer.bias[to] = layer.bias[of]
        for name in norms:
            norm = module.get_submodule(name)
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor[to] = tensor[of]


def _unit(traced: Traced, weight: str, channel: int) -> frozenset[int]:
    labels = provenance(traced).axes[weight][0]
    return frozenset({int(labels[channel])})


REPEATED = {
    "inside, through BatchNorm and a depthwise layer": (("up", "deep"), ("n1", "n2"), "up.weight"),
    "a residual stream": (("stem", "down"), ("n0", "n3"), "stem.weight"),
    "before the classifier": (("last",), (), "last.weight"),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_channel_that_repeats_another_goes_without_loss(name: str) -> None:
    layers, norms, weight = REPEATED[name]
    module = _network()
    _repeat(module, layers, norms, 5, 2)
    traced, x = trace(module, (3, 8, 8)), torch.randn(192, 3, 8, 8, dtype=torch.float64)
    found, units = provenance(traced), _unit(traced, weight, 5)
    thin, log = merge_channels(traced, found, units, x, WALKING, ridge=1e-12)
    plain, _ = compact(traced, found, units, x[:4])
    fresh = torch.randn(16, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        wanted, got, cut = traced.module(fresh), thin.module(fresh), plain.module(fresh)
    assert torch.allclose(got, wanted, atol=1e-5)
    assert float((cut - wanted).abs().max()) > 100 * float((got - wanted).abs().max())
    assert all(row.taken == "merged" and row.merged < 1e-8 < row.cut for row in log)
    assert [p.shape for p in thin.module.parameters()] == [p.shape for p in plain.module.parameters()]


def test_a_channel_that_is_a_scaled_and_shifted_other_goes_without_loss() -> None:
    module = _network()
    with torch.no_grad():  # before a linear consumer without a nonlinearity between: the residual sum
        module.n0.bias.fill_(50)  # so that its ReLU lets everything through
        module.stem.weight[5] = -0.5 * module.stem.weight[2]
        module.down.weight[5] = 0
        module.down.weight[2] = 0
        module.up.weight[:, 5] = 0
        module.up.weight[:, 2] = 0
    traced, x = trace(module, (3, 8, 8)), torch.randn(192, 3, 8, 8, dtype=torch.float64)
    found, units = provenance(traced), _unit(traced, "stem.weight", 5)
    with torch.no_grad():
        module.last.padding = (0, 0)  # a constant is none where a kernel reads zeros beyond the border
    traced = trace(module, (3, 8, 8))
    found, units = provenance(traced), _unit(traced, "stem.weight", 5)
    thin, _ = merge_channels(traced, found, units, x, WALKING, ridge=1e-14)
    with torch.no_grad():
        assert torch.allclose(thin.module(x[:8]), traced.module(x[:8]), atol=1e-4)


def test_merging_beats_the_cut_on_images_it_has_not_seen() -> None:
    traced, x = trace(_network(), (3, 8, 8)), torch.randn(192, 3, 8, 8, dtype=torch.float64)
    ground = prunable(traced)
    units = frozenset(unit for group in ground.groups for unit in group.units[: len(group.units) // 4])
    before = {name: p.clone() for name, p in traced.module.named_parameters()}
    thin, log = merge_channels(traced, ground.found, units, x, WALKING)
    plain, _ = compact(traced, ground.found, units, x[:4])
    fresh = torch.randn(64, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        wanted = traced.module(fresh)
        merged, cut = ((net.module(fresh) - wanted).norm() for net in (thin, plain))
    assert float(merged) < 0.7 * float(cut)
    assert [row.weight for row in log] == ["up.weight", "down.weight", "last.weight", "head.weight"]
    assert all(torch.equal(p, before[name]) for name, p in traced.module.named_parameters()), "the dense one stays"


def test_batch_norm_may_be_re_estimated_after_it() -> None:
    module = _network()
    _repeat(module, ("up", "deep"), ("n1", "n2"), 5, 2)
    traced, x = trace(module, (3, 8, 8)), torch.randn(192, 3, 8, 8, dtype=torch.float64)
    reestimate(traced, [x])
    thin, _ = merge_channels(traced, provenance(traced), _unit(traced, "up.weight", 5), x, WALKING, ridge=1e-12)
    with torch.no_grad():
        assert torch.allclose(reestimate(thin, [x]).module(x[:8]), traced.module(x[:8]), atol=1e-5)


def test_with_nothing_to_go_the_function_stays() -> None:
    traced, x = trace(_network(), (3, 8, 8)), torch.randn(128, 3, 8, 8, dtype=torch.float64)
    thin, log = merge_channels(traced, provenance(traced), frozenset(), x, WALKING)
    assert log == []
    with torch.no_grad():
        assert torch.allclose(thin.module(x[:8]), traced.module(x[:8]), atol=1e-8)
