"""SNOWS on whole networks: exact masks, lower errors, and what becomes of BatchNorm, shared weights and a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeprune.compact.apply import compact
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import Traced, trace
from edgeprune.reconstruction import snows as module_under_test
from edgeprune.reconstruction.cascade import Cascade, Walking
from edgeprune.reconstruction.channels import snows_on_channels
from edgeprune.reconstruction.newton import Settings
from edgeprune.reconstruction.snows import Rebuilt, Snows, rebuild, snows
from tests.reconstruction.nets import attending, block, half, twin

SHARP = Settings(iterations=400, tolerance=1e-10)


def _masks(traced: Traced, *names: str) -> dict[str, Tensor]:
    return {name: half(traced.module.get_parameter(name).shape, seed) for seed, name in enumerate(names)}


def _error(student: Traced, dense: Traced, x: Tensor) -> float:
    with torch.no_grad():
        return float((student.module(x) - dense.module(x)).square().mean())


def _masked(traced: Traced, masks: dict[str, Tensor]) -> Traced:
    student = twin(traced)
    for name, mask in masks.items():
        student.module.get_parameter(name).data.mul_(mask)
    return student


@pytest.mark.parametrize("weight", ["stem.weight", "a.weight"])
def test_newton_with_no_operation_ahead_is_least_squares(weight: str) -> None:
    traced, x = block()
    mask = _masks(traced, weight)[weight]
    asked = Snows(steps=0, warm=False, passes=3, newton=SHARP, walking=Walking(batch_size=len(x)))
    cascade = Cascade(twin(traced), traced, x, asked.walking)
    (place,) = cascade.places([weight])
    moved, log = rebuild(place, mask, asked)
    solved, _ = rebuild(place, mask, Snows(steps=0, walking=asked.walking))
    # The closed form has a ridge of 1e-4; without it both are the same minimum.
    found = module_under_test._solved(module_under_test._moments(place, [weight]), mask, bias=False, ridge=0.0)
    assert log.taken == "moved"
    torch.testing.assert_close(moved[weight], found[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(solved[weight], found[0], rtol=1e-2, atol=1e-2)
    cascade.close()


@pytest.mark.parametrize("steps", [0, 2, None])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("matrix", ["ggn", "hessian"])
def test_masks_hold_and_the_outputs_come_closer(steps: int | None, own: bool, matrix: str) -> None:
    traced, x = block()
    masks = _masks(traced, "a.weight", "b.weight")
    student = twin(traced)
    asked = Snows(steps=steps, newton=Settings(kind=matrix), walking=Walking(own_target=own, batch_size=32))
    log = snows(student, traced, masks, x, asked)
    assert [row.weight for row in log] == ["a.weight", "b.weight"]
    for name, mask in masks.items():
        assert not student.module.get_parameter(name)[~mask].any()
    others = set(dict(student.module.named_parameters())) - set(masks)
    for name in others:
        assert torch.equal(student.module.get_parameter(name), traced.module.get_parameter(name))
    assert _error(student, traced, x) < 0.8 * _error(_masked(traced, masks), traced, x)
    for row in log:
        assert row.best <= row.masked
        for step in row.steps:
            assert step["after"] <= step["before"]


def test_attention_is_rebuilt_and_biases_move_where_asked() -> None:
    traced, x = attending()
    names = ("q.weight", "k.weight", "v.weight", "out.weight", "up.weight", "down.weight")
    masks = _masks(traced, *names)
    for biases in (False, True):
        student = twin(traced)
        snows(student, traced, masks, x, Snows(biases=biases, walking=Walking(batch_size=32)))
        assert _error(student, traced, x) < 0.5 * _error(_masked(traced, masks), traced, x)
        same = torch.equal(student.module.get_parameter("up.bias"), traced.module.get_parameter("up.bias"))
        assert same != biases


def test_a_bias_behind_which_a_batch_norm_stands_moves_its_shift() -> None:
    traced, x = block()
    masks = _masks(traced, "a.weight")
    student = twin(traced)
    snows(student, traced, masks, x, Snows(biases=True, walking=Walking(batch_size=32)))
    assert not torch.equal(student.module.get_parameter("na.bias"), traced.module.get_parameter("na.bias"))
    assert torch.equal(student.module.get_parameter("na.weight"), traced.module.get_parameter("na.weight"))
    asked = Snows(steps=0, walking=Walking(batch_size=32))
    (free,), (fixed,) = (
        snows(twin(traced), traced, masks, x, replace(asked, biases=biases)) for biases in (True, False)
    )
    assert free.best < fixed.best


class Shared(nn.Module):
    """One weight, read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.a(torch.relu(self.a(x)))))


def test_a_weight_that_is_read_twice_is_rebuilt_for_both() -> None:
    torch.manual_seed(0)
    traced, x = trace(Shared().double().eval(), (6,)), torch.randn(600, 6, dtype=torch.float64)
    masks, student = _masks(traced, "a.weight"), twin(traced)
    (log,) = snows(student, traced, masks, x, Snows(steps=None, walking=Walking(batch_size=200)))
    assert log.solved is None
    assert log.operations == 5
    assert _error(student, traced, x) < 0.8 * _error(_masked(traced, masks), traced, x)


def test_a_channel_that_its_batch_norm_silences_keeps_its_weights() -> None:
    traced, x = block()
    traced.module.get_parameter("na.weight").data[2] = 0
    masks, student = _masks(traced, "a.weight"), twin(traced)
    snows(student, traced, masks, x, Snows(walking=Walking(batch_size=32)))
    found = student.module.get_parameter("a.weight")
    assert bool(found.isfinite().all())
    expected = traced.module.get_parameter("a.weight")[2] * masks["a.weight"][2]
    assert torch.equal(found[2], expected)


def test_a_killed_call_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced, x = block()
    masks = _masks(traced, "stem.weight", "a.weight", "b.weight")
    asked, whole = Snows(walking=Walking(batch_size=32)), twin(traced)
    log = snows(whole, traced, masks, x, asked)
    calls: list[str] = []
    original = module_under_test.rebuild

    def counted(place: object, mask: Tensor, asked: Snows) -> tuple[dict[str, Tensor], Rebuilt]:
        calls.append(place.weight)  # type: ignore[attr-defined]
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(place, mask, asked)  # type: ignore[arg-type]

    monkeypatch.setattr(module_under_test, "rebuild", counted)
    with pytest.raises(KeyboardInterrupt):
        snows(twin(traced), traced, masks, x, asked, state=tmp_path / "state.pt")
    student = twin(traced)
    again = snows(student, traced, masks, x, asked, state=tmp_path / "state.pt")
    assert calls == ["stem.weight", "a.weight", "b.weight", "b.weight"]
    for (name, a), b in zip(student.module.named_parameters(), whole.module.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [row.taken for row in again] == [row.taken for row in log]
    snows(twin(traced), traced, masks, x, replace(asked, steps=0), state=tmp_path / "state.pt")
    assert len(calls) == 7, "other settings do not go on from what is there"


def test_little_memory_changes_nothing() -> None:
    traced, x = block()
    masks, found = _masks(traced, "a.weight", "b.weight"), []
    for memory in (1e-4, 1000.0):
        student = twin(traced)
        snows(student, traced, masks, x, Snows(walking=Walking(batch_size=32, memory_mb=memory)))
        found.append(student.module.get_parameter("b.weight"))
    assert torch.equal(*found)


def test_what_is_left_of_cut_channels_makes_up_for_them() -> None:
    traced, x = block()
    found = provenance(traced)
    labels = found.axes["stem.weight"][0]
    inner = found.axes["a.weight"][0]
    units = frozenset({int(labels[1]), int(labels[4]), int(inner[0]), int(inner[3])})
    thin, _ = compact(traced, found, units, x[:2])
    rebuilt, log = snows_on_channels(traced, found, units, x, Snows(walking=Walking(batch_size=32)))
    shapes = {name: p.shape for name, p in thin.module.named_parameters()}
    assert {name: p.shape for name, p in rebuilt.module.named_parameters()} == shapes
    assert [row.weight for row in log] == ["stem.weight", "a.weight", "b.weight", "head.weight"]
    assert _error(rebuilt, traced, x) < 0.5 * _error(thin, traced, x)


def test_a_transformer_with_cut_channels_is_rebuilt() -> None:
    torch.manual_seed(0)
    module = VisionTransformer(4, 2, 16, 2, 5, 1, 8).eval()
    traced, x = trace(module, (1, 8, 8)), torch.randn(96, 1, 8, 8)
    found = provenance(traced)
    hidden = found.axes["encoder.layers.encoder_layer_0.mlp.0.weight"][0]
    units = frozenset(int(label) for label in hidden[:16])
    thin, _ = compact(traced, found, units, x[:2])
    rebuilt, _ = snows_on_channels(traced, found, units, x, Snows(walking=Walking(batch_size=32)))
    assert _error(rebuilt, traced, x) < 0.8 * _error(thin, traced, x)
