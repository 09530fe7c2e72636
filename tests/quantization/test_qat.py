from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced, load, save, trace
from edgeprune.quantization.fake import ActivationQuantizer, observe
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.qat import Scheme, prepare
from tests import zoo


def _images(count: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *zoo.SHAPE, generator=torch.Generator().manual_seed(seed))


def _prepared(name: str, activations: str = "unsigned", runtime: str = "onnxruntime", bits: int = 8) -> Traced:
    traced = trace(zoo.build(name), zoo.SHAPE)
    return prepare(traced, Scheme(activations, runtime, bits), _images().split(16))  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("name", list(zoo.ZOO))
def test_frozen_equals_the_trained_network_bit_for_bit(name: str, runtime: str) -> None:
    prepared = _prepared(name, "signed" if runtime == "tensorrt" else "unsigned", runtime)
    frozen = freeze(prepared)
    x = _images(8, seed=1) * 2
    assert torch.equal(frozen.module(x), prepared.module(x))
    assert not any(node.op == "call_module" for node in frozen.module.graph.nodes)


@pytest.mark.parametrize("name", ["OptionA", "Shared"])
def test_a_frozen_network_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    frozen = freeze(_prepared(name))
    save(frozen, tmp_path / "frozen.pt2")
    x = _images(8, seed=1)
    assert torch.equal(load(tmp_path / "frozen.pt2").module(x), frozen.module(x))


def test_it_trains_and_its_ranges_follow() -> None:
    prepared = _prepared("Residual")
    module, x = prepared.module, _images()
    labels = torch.arange(32) % 5
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    ranges = {n: b.clone() for n, b in module.named_buffers() if n.endswith("upper")}
    observe(module, True)
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(module(x), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    observe(module, False)
    moved = dict(module.named_buffers())
    assert any(not torch.equal(moved[n], before) for n, before in ranges.items())
    assert torch.equal(freeze(prepared).module(x), module(x))


def test_the_state_travels_by_state_dict() -> None:
    prepared = _prepared("OptionA")
    other = copy.deepcopy(prepared)
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.mul_(1.5)
    other.module.load_state_dict(prepared.module.state_dict())
    x = _images(4)
    assert torch.equal(other.module(x), prepared.module(x))


def test_signed_targets_have_signed_quantizers_only() -> None:
    kinds = {
        part.low for part in _prepared("OptionA", "signed").module.modules() if isinstance(part, ActivationQuantizer)
    }
    assert kinds == {-128}


def test_without_images_it_says_so() -> None:
    traced = trace(zoo.build("Plain"), zoo.SHAPE)
    with pytest.raises(EdgepruneError, match="no calibration images"):
        prepare(traced, Scheme("unsigned", "onnxruntime", 8), [])


def test_an_infinite_activation_is_named() -> None:
    traced = trace(zoo.build("Plain"), zoo.SHAPE)
    with pytest.raises(EdgepruneError, match="not finite"):
        prepare(traced, Scheme("unsigned", "onnxruntime", 8), [_images() * torch.inf])
