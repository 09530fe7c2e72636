"""The training loop: deterministic, resumable, never worse than what it was given."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.errors import EdgepruneError
from edgeprune.model.data import Data, Split
from edgeprune.model.traced import Traced, trace
from edgeprune.progress import silent
from edgeprune.spec.bundle import Preprocessing
from edgeprune.train.batch_norm import reestimate
from edgeprune.train.fit import Plan, fit
from edgeprune.train.loss import distillation
from edgeprune.train.modes import set_training
from tests.zoo import SHAPE, build


def _data() -> Data:
    """Five classes told apart by the mean of one half of the picture."""
    generator = np.random.default_rng(0)
    labels = np.arange(100) % 5
    images = generator.normal(size=(100, *SHAPE)).astype(np.float32) * 0.3
    images[:, 0, :6] += labels[:, None, None] - 2.0
    split = Split(images, labels.astype(np.int64))
    preprocessing = Preprocessing(channels="RGB", resize_shorter_to=12, crop=12, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Data(split, split, split, tuple("abcde"), preprocessing, "crop", (), "test")


def _plan(**changes: object) -> Plan:
    settings = {
        "name": "test",
        "optimizer": "sgd",
        "epochs": 3,
        "batch_size": 20,
        "learning_rate": 0.05,
        "warmup": 0.0,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "distill": 0.5,
        "temperature": 4.0,
        "seed": 0,
        "augment": "crop",
    }
    return Plan(**{**settings, **changes})


def _student() -> Traced:
    return trace(build("Residual"), SHAPE)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adam", 0.01)])
def test_training_learns_and_reports_every_epoch(optimizer: str, rate: float) -> None:
    fitted = fit(_student(), _data(), _plan(epochs=6, optimizer=optimizer, learning_rate=rate), None, silent)
    assert [row["epoch"] for row in fitted.history] == list(range(7))
    assert fitted.history[-1]["loss"] < fitted.history[1]["loss"]
    assert max(row["val_accuracy"] for row in fitted.history) > fitted.history[0]["val_accuracy"]


def test_the_rate_rises_over_its_share_of_the_steps_and_falls_to_nothing() -> None:
    rates: list[float] = []

    def note(_: object, optimizer: torch.optim.Optimizer) -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    fit(_student(), _data(), _plan(epochs=8, warmup=0.25), None, silent, after_step=note)
    assert len(rates) == 40
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[0] == pytest.approx(0.005)
    assert rates[9] == pytest.approx(0.05 * 0.5 * (1 + math.cos(math.pi * 9 / 40)))
    assert rates[-1] < 0.001


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path, optimizer: str) -> None:
    teacher, data, plan = _student(), _data(), _plan(optimizer=optimizer)
    whole = fit(_student(), data, plan, teacher, silent).traced.module.state_dict()

    class Killed(Exception):
        pass

    def killed_in_the_second_epoch(_label: str, done: int, _total: int) -> None:
        if done == 8:
            raise Killed

    with pytest.raises(Killed):
        fit(_student(), data, plan, teacher, killed_in_the_second_epoch, tmp_path / "state.pt")
    resumed = fit(_student(), data, plan, teacher, silent, tmp_path / "state.pt").traced.module.state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_dropout_does_not_keep_it_from_resuming(tmp_path: Path) -> None:
    def student() -> Traced:
        torch.manual_seed(0)
        flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(3 * 12 * 12, 5))
        return trace(flat, SHAPE)

    data = _data()
    whole = fit(student(), data, _plan(), None, silent).traced.module.state_dict()
    fit(student(), data, _plan(epochs=1), None, silent)
    torch.rand(3)  # another history of the global generator

    def stop(_label: str, done: int, _total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(student(), data, _plan(), None, stop, tmp_path / "state.pt")
    resumed = fit(student(), data, _plan(), None, silent, tmp_path / "state.pt").traced.module.state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_best_epoch_is_kept_and_the_network_as_it_came_competes() -> None:
    data = _data()
    good = fit(_student(), data, _plan(epochs=8), None, silent)
    before = {name: value.clone() for name, value in good.traced.module.state_dict().items()}
    reached = max(row["val_accuracy"] for row in good.history)
    ruined = fit(good.traced, data, _plan(epochs=1, learning_rate=5.0), None, silent)
    assert ruined.history[0]["val_accuracy"] == reached
    assert ruined.history[1]["val_accuracy"] < reached
    assert all(torch.equal(before[name], value) for name, value in ruined.traced.module.state_dict().items())


def test_a_loss_that_is_not_finite_stops_with_the_place() -> None:
    with pytest.raises(EdgepruneError, match=r"test: the loss is not finite at epoch 1, batch \d+ .*Lower"):
        fit(_student(), _data(), _plan(learning_rate=1e20), None, silent)


def test_distillation_is_cross_entropy_plus_scaled_divergence() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(7, 5), torch.randn(7, 5), torch.randint(0, 5, (7,))
    p, q = torch.softmax(teacher / 3, 1), torch.softmax(student / 3, 1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    truth = -torch.log_softmax(student, 1)[torch.arange(7), labels].mean()
    torch.testing.assert_close(distillation(student, teacher, labels, 0.7, 3.0), 0.3 * truth + 0.7 * 9 * divergence)
    torch.testing.assert_close(distillation(student, None, labels, 0.7, 3.0), truth)


def test_reestimated_statistics_are_those_of_the_data() -> None:
    traced = trace(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)), SHAPE)
    batches = [torch.randn(50, *SHAPE) * 3 + 1 for _ in range(4)]
    reestimate(traced, batches)
    with torch.no_grad():
        values = torch.nn.functional.conv2d(
            torch.cat(batches), traced.module.get_parameter("0.weight"), traced.module.get_parameter("0.bias")
        )
    torch.testing.assert_close(traced.module.get_buffer("1.running_mean"), values.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(traced.module.get_buffer("1.running_var"), values.var((0, 2, 3)), rtol=2e-2, atol=1e-3)


def test_training_mode_uses_batch_statistics_and_goes_back() -> None:
    traced = _student()
    x = torch.randn(8, *SHAPE)
    before = traced.module(x)
    set_training(traced.module, True)
    assert not torch.allclose(traced.module(x), before)
    set_training(traced.module, False)
    traced.module.load_state_dict(_student().module.state_dict())
    torch.testing.assert_close(traced.module(x), before)
