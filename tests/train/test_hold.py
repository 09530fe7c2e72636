"""Masked weights stay zero through momentum and weight decay, and through a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgeprune.model.traced import Traced
from edgeprune.progress import silent
from edgeprune.train.fit import fit
from edgeprune.train.hold import holding
from tests.train.test_fit import _data, _plan, _student

KEPT = {
    name: torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.5
    for name, shape in (("a.0.weight", (16, 16, 3, 3)), ("head.weight", (5, 24)))
}


def _masked() -> Traced:
    student = _student()
    with torch.no_grad():
        for name, mask in KEPT.items():
            student.module.get_parameter(name).masked_fill_(~mask, 0)
    return student


def _revived(traced: Traced) -> int:
    return sum(int(traced.module.get_parameter(name)[~mask].count_nonzero()) for name, mask in KEPT.items())


def test_training_moves_what_stays_and_nothing_else() -> None:
    plan = _plan(weight_decay=0.1, epochs=4)
    held = fit(_masked(), _data(), plan, None, silent, after_step=holding(KEPT)).traced
    assert _revived(held) == 0
    before = _masked().module.get_parameter("a.0.weight")
    kept = KEPT["a.0.weight"]
    assert (held.module.get_parameter("a.0.weight")[kept] != before[kept]).all()
    assert _revived(fit(_masked(), _data(), plan, None, silent).traced) > 0


def test_momentum_is_zero_where_the_weight_is() -> None:
    student = _masked()
    parameters = [*student.module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    hold = holding(KEPT)
    for step in range(3):
        student.module(torch.randn(4, *student.input_shape)).square().sum().backward()
        optimizer.step()
        hold(student.module, optimizer)
        for name, mask in KEPT.items():
            momentum = optimizer.state[student.module.get_parameter(name)]["momentum_buffer"]
            assert not momentum[~mask].any(), step
            assert momentum[mask].any()


def test_a_killed_masked_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    teacher, data = _student(), _data()
    hold = holding(KEPT)
    whole = fit(_masked(), data, _plan(), teacher, silent, after_step=hold).traced.module.state_dict()

    class Killed(Exception):
        pass

    def killed_in_the_second_epoch(_label: str, done: int, _total: int) -> None:
        if done == 8:
            raise Killed

    with pytest.raises(Killed):
        fit(_masked(), data, _plan(), teacher, killed_in_the_second_epoch, tmp_path / "state.pt", after_step=hold)
    resumed = fit(_masked(), data, _plan(), teacher, silent, tmp_path / "state.pt", after_step=holding(KEPT))
    assert all(torch.equal(value, whole[name]) for name, value in resumed.traced.module.state_dict().items())
