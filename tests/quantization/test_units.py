"""A layer made fragile on purpose is named first, and it alone stays in higher precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeprune.model.traced import Traced, trace
from edgeprune.quantization.diagnose import diagnose
from edgeprune.quantization.fake import WeightQuantizer
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.place import Runtime
from edgeprune.quantization.qat import Scheme, prepare
from edgeprune.quantization.refine import refine
from edgeprune.quantization.units import leave, units

RUNTIMES = [("onnxruntime", "unsigned"), ("tensorrt", "signed")]


def _images(seed: int = 0) -> Tensor:
    return torch.randn(32, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def _network(fragile: float = 1.0) -> Traced:
    """Layers 0, 2, 4, 6 and 9; the channel between 2 and 4 is scaled, and scaled back: the network is the same."""
    torch.manual_seed(1)
    parts: list[nn.Module] = []
    for inputs in (3, 16, 16, 16):
        parts += [nn.Conv2d(inputs, 16, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    with torch.no_grad():
        net[2].weight[3] *= fragile  # type: ignore[operator, union-attr]
        net[2].bias[3] *= fragile  # type: ignore[operator, union-attr]
        net[4].weight[:, 3] /= fragile  # type: ignore[operator, union-attr]
    return trace(net.eval(), (3, 12, 12))


def _noise(network: Traced, wanted: Tensor, x: Tensor) -> float:
    with torch.no_grad():
        return float((network.module(x) - wanted).square().sum() / wanted.square().sum())


@pytest.mark.parametrize(("runtime", "activations"), RUNTIMES)
def test_the_fragile_layer_is_named_and_leaving_it_mends_the_network(runtime: Runtime, activations: str) -> None:
    network, x = _network(1000.0), _images(1)
    prepared = prepare(network, Scheme(activations, runtime, 8), [_images()])  # type: ignore[arg-type]
    assert diagnose(prepared, [x], runtime)[0].unit == "4"
    wanted = network.module(x)
    before = _noise(prepared, wanted, x)
    left, parted = leave(prepared, ["4"], runtime)
    assert _noise(left, wanted, x) < 0.1 * before
    # ONNX Runtime has no integer convolution that writes floats, TensorRT has.
    assert parted == (("2",) if runtime == "onnxruntime" else ())
    assert torch.equal(freeze(left).module(x), left.module(x))
    other, _ = leave(prepared, ["0"], runtime)
    assert _noise(other, wanted, x) > 0.5 * before


@pytest.mark.parametrize(("runtime", "activations"), RUNTIMES)
def test_with_all_units_left_the_network_is_the_float_one(runtime: Runtime, activations: str) -> None:
    network, x = _network(), _images(1)
    prepared = prepare(network, Scheme(activations, runtime, 8), [_images()])  # type: ignore[arg-type]
    left, _ = leave(prepared, [*units(prepared.module, runtime)], runtime)
    assert torch.allclose(left.module(x), network.module(x), atol=1e-6)


def test_equalisation_heals_the_fragile_layer_and_keeps_the_network() -> None:
    network, x = _network(1000.0), _images(1)
    plain, even = (
        prepare(network, Scheme("unsigned", "onnxruntime", 8, equalized=equalized), [_images()])
        for equalized in (False, True)
    )
    wanted = network.module(x)
    assert _noise(even, wanted, x) < 0.1 * _noise(plain, wanted, x)


@pytest.mark.parametrize(("steps", "biases"), [(0, True), (200, False), (200, True)])
def test_rounding_to_fit_and_corrected_biases_lessen_the_noise(steps: int, biases: bool) -> None:
    network, x = _network(), _images(1)
    scheme = Scheme("unsigned", "onnxruntime", 7)
    plain, fitted = (prepare(network, scheme, [_images()]) for _ in range(2))
    for part in (*plain.module.modules(), *fitted.module.modules()):
        if isinstance(part, WeightQuantizer):
            part.levels = 7  # so coarse that rounding is most of the noise
    refine(fitted, _images(), "onnxruntime", steps, biases)
    wanted = network.module(x)
    assert _noise(fitted, wanted, x) < _noise(plain, wanted, x)
    assert torch.equal(freeze(fitted).module(x), fitted.module(x))


def test_rounding_to_fit_keeps_zeros() -> None:
    network = _network()
    weight = network.module.get_parameter("2.weight")
    with torch.no_grad():
        weight[:, ::2] = 0
    fitted = prepare(network, Scheme("unsigned", "onnxruntime", 8), [_images()])
    refine(fitted, _images(), "onnxruntime", 20, True)
    assert not freeze(fitted).module.get_parameter("2.weight")[:, ::2].any()


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_every_range_method_makes_a_network_that_works(method: str) -> None:
    network, x = _network(), _images(1)
    scheme = Scheme("unsigned", "onnxruntime", 8, ranges=method)  # type: ignore[arg-type]
    assert _noise(prepare(network, scheme, [_images()]), network.module(x), x) < 1e-3


def test_learned_scales_are_trained() -> None:
    prepared = prepare(_network(), Scheme("unsigned", "onnxruntime", 8, learned=True), [_images()])
    scales = {n: p for n, p in prepared.module.named_parameters() if n.endswith("log_scale")}
    before = {name: scale.detach().clone() for name, scale in scales.items()}
    optimizer = torch.optim.Adam(prepared.module.parameters(), 1e-2)
    prepared.module(_images(1)).square().mean().backward()
    optimizer.step()
    assert scales
    assert all(not torch.equal(scale, before[name]) for name, scale in scales.items() if "linear" not in name)
    assert torch.equal(freeze(prepared).module(_images(2)), prepared.module(_images(2)))
