"""One cycle of CAMP-HiVe: exact masks, a merge that is taken only where it helps, and the same result every time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.curvature.probing import Probing
from edgeprune.merging.cycle import Merging, curve, one_cycle
from edgeprune.merging.cycles import in_cycles
from edgeprune.model.traced import Traced, trace

WEIGHTS = ("a.weight", "b.weight", "head.weight")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.n(self.a(x)))
        return self.head(functional.relu(self.b(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def trained() -> tuple[Traced, Tensor, Tensor]:
    """Tells three kinds of pictures apart."""
    torch.manual_seed(0)
    y = torch.randint(0, 3, (96,))
    kinds = torch.randn(3, 2, 8, 8)
    x = kinds[y] + 0.7 * torch.randn(96, 2, 8, 8)
    module = Net()
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    return trace(module.eval(), (2, 8, 8)), x, y


def _whole(traced: Traced) -> dict[str, Tensor]:
    return {name: torch.ones_like(traced.module.get_parameter(name), dtype=torch.bool) for name in WEIGHTS}


def _twin(traced: Traced) -> Traced:
    return Traced(copy.deepcopy(traced.module), traced.input_shape)


def _asked(**more: object) -> Merging:
    return Merging(eigenpairs=3, probing=Probing(batch_size=96), **more)  # type: ignore[arg-type]


SETTINGS = {
    "default": {},
    "the curvature's score": {"score": "lowrank+fisher"},
    "low rank alone": {"score": "lowrank"},
    "on the loss": {"on": "loss", "score": "lowrank+fisher"},
    "magnitude, pair by pair": {"score": "magnitude", "merge": "pair"},
    "magnitude, pairs on the loss": {"score": "magnitude", "merge": "pair", "on": "loss"},
    "constant": {"score": "magnitude", "merge": "constant"},
    "nothing merged": {"merge": "none"},
    "the released code, repaired": {"score": "eigvec", "merge": "constant", "on": "loss", "by_tensor": True},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_masks_are_exact_monotone_and_never_worse_for_the_merge(
    trained: tuple[Traced, Tensor, Tensor], name: str
) -> None:
    dense, x, y = trained
    student, masks, start, asked = _twin(dense), _whole(dense), None, _asked(**SETTINGS[name])
    total = sum(mask.numel() for mask in masks.values())
    for sparsity in (0.4, 0.7):
        before = masks
        curved = curve(student, before, x, y, asked, start) if asked.curves else None
        masks, log = one_cycle(student, dense, before, sparsity, x, y, asked, curved)
        start = curved.vectors if curved is not None else None
        gone = total - sum(int(mask.sum()) for mask in masks.values())
        if "by_tensor" in SETTINGS[name]:
            assert gone == sum(round(sparsity * mask.numel()) for mask in masks.values())
        else:
            assert gone == round(sparsity * total)
        for weight, mask in masks.items():
            assert not bool((mask & ~before[weight]).any()), "what went stays away"
            assert not bool(student.module.get_parameter(weight)[~mask].any())
        assert log.loss_merged <= log.loss_cut
        assert (log.taken > 0) == (log.loss_merged <= log.loss_cut and log.taken in (1.0, 0.5, 0.25))
        assert log.sparsity == pytest.approx(gone / total)


def test_the_same_call_gives_the_same_network(trained: tuple[Traced, Tensor, Tensor]) -> None:
    dense, x, y = trained
    twins = [in_cycles(dense, _whole(dense), 0.6, 2, x, y, _asked(score="lowrank+fisher"))[0] for _ in range(2)]
    for a, b in zip(*(twin.module.parameters() for twin in twins), strict=True):
        assert torch.equal(a, b)


def test_at_sparsity_zero_the_weights_stay(trained: tuple[Traced, Tensor, Tensor]) -> None:
    dense, x, y = trained
    student, masks, (log,) = in_cycles(dense, _whole(dense), 0.0, 1, x, y, _asked())
    assert all(bool(mask.all()) for mask in masks.values())
    for name in WEIGHTS:
        assert torch.equal(student.module.get_parameter(name), dense.module.get_parameter(name))
    assert log.taken == 0
