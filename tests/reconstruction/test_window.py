"""The K-step loss against networks written out by hand; its products against full matrices and differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgeprune.model.traced import Traced, trace
from edgeprune.reconstruction.cascade import Cascade, Place, Walking
from edgeprune.reconstruction.window import Batch
from tests.reconstruction.nets import Attending, Block, attending, block, half, twin


def _place(traced: Traced, student: Traced, x: Tensor, weight: str, own: bool = True) -> tuple[Cascade, Place]:
    cascade = Cascade(student, traced, x, Walking(own_target=own, batch_size=len(x)))
    (place,) = cascade.places([weight])
    return cascade, place


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()


def _of_block(module: Block, x: Tensor) -> list[Tensor]:
    """What follows the convolution `a`, from its own output on, BatchNorm included in what a convolution puts out."""
    with torch.no_grad():
        start = functional.relu(module.stem(x))
        a = module.na(module.a(start))
        first = functional.relu(a)
        b = module.nb(module.b(first))
        last = functional.relu(start + b)
        return [a, first, b, last, module.head(last.mean((2, 3)))]


def _of_attention(module: Attending, x: Tensor) -> list[Tensor]:
    """What follows the keys' layer."""
    with torch.no_grad():
        x = torch.cat([module.token.expand(len(x), -1, -1), module.embed(x)], 1)
        n = module.norm(x)
        key = module.k(n)
        q, k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in (module.q(n), key, module.v(n)))
        weights = (q @ k.transpose(2, 3) / 2).softmax(3)
        mixed = weights @ v
        out = module.out(mixed.transpose(1, 2).flatten(2))
        up = module.up(x + out)
        bent = functional.gelu(up)
        down = module.down(bent)
        return [key, mixed, out, up, bent, down, module.head((x + out + down)[:, 0])]


@dataclass(frozen=True)
class Case:
    """A network, a layer of it, and what follows that layer, by hand; `within`: relative, of the loss."""

    network: Callable[[], tuple[Traced, Tensor]]
    module: Callable[[], nn.Module]
    layer: str
    following: Callable[[Any, Tensor], list[Tensor]]
    within: float


BLOCK = Case(block, Block, "a", _of_block, 1e-9)
ATTENTION = Case(attending, Attending, "k", _of_attention, 1e-6)


@pytest.mark.parametrize(
    ("case", "steps"), [*((BLOCK, k) for k in (0, 1, 2, 3, None)), *((ATTENTION, k) for k in (0, 1, 2, 4, None))]
)
def test_the_loss_is_that_of_the_operations_ahead(case: Case, steps: int | None) -> None:
    traced, x = case.network()
    module = case.module().double().eval()
    module.load_state_dict(traced.module.state_dict())
    weight = f"{case.layer}.weight"
    cascade, place = _place(traced, twin(traced), x, weight)
    ahead = place.window([weight], steps)
    mask = half(place.value.shape)
    loss = place.batch(ahead, 0).loss([place.value * mask])
    wanted = case.following(module, x)
    with torch.no_grad():
        module.get_parameter(weight).mul_(mask)
    got = case.following(module, x)
    count = len(wanted) if steps is None else steps + 1
    assert len(ahead.matched) == count
    expected = sum(float(_mean_square(a, b)) for a, b in list(zip(got, wanted, strict=True))[:count])
    assert loss == pytest.approx(expected, rel=case.within)
    cascade.close()


@pytest.mark.parametrize("own", [True, False])
def test_the_target_is_the_dense_network_or_its_layers_on_what_the_student_reads(own: bool) -> None:
    traced, x = block()
    student = twin(traced)
    with torch.no_grad():
        student.module.get_parameter("stem.weight").mul_(half(student.module.get_parameter("stem.weight").shape))
    cascade, place = _place(traced, student, x, "a.weight", own)
    ahead = place.window(["a.weight"], None)
    loss = place.batch(ahead, 0).loss([place.value])
    # With the dense weights from here on, only what came before can differ, and in a block it does not.
    assert (loss > 1e-3) if own else (loss < 1e-20)
    target, dense = place.outputs()(0), Block().double().eval()
    dense.load_state_dict((traced if own else student).module.state_dict())
    torch.testing.assert_close(target, _of_block(dense, x)[0])
    cascade.close()


def _batch(kind: str) -> tuple[Batch, list[Tensor]]:
    traced, x = block() if kind == "block" else attending()
    weight = "a.weight" if kind == "block" else "v.weight"
    cascade, place = _place(traced, twin(traced), x[:8], weight)
    batch = place.batch(place.window([weight], None), 0)
    tensors = [place.value * half(place.value.shape)]
    cascade.close()
    return batch, tensors


@pytest.mark.parametrize("kind", ["block", "attention"])
def test_gradient_and_hessian_products_are_exact(kind: str) -> None:
    batch, tensors = _batch(kind)
    (w,) = tensors

    def loss(flat: Tensor) -> Tensor:
        return batch._squares(batch._run([flat.view(w.shape)]))

    point = batch.at(tensors, "hessian")
    flat = w.flatten()
    with sdpa_kernel(SDPBackend.MATH):
        gradient = torch.autograd.functional.jacobian(loss, flat)
        hessian = torch.autograd.functional.hessian(loss, flat)
    torch.testing.assert_close(point.gradient[0].flatten(), gradient)
    v = torch.randn_like(w)
    torch.testing.assert_close(point.product([v])[0].flatten(), hessian @ v.flatten(), rtol=1e-9, atol=1e-12)
    assert point.loss == pytest.approx(batch.loss(tensors))


@pytest.mark.parametrize("kind", ["block", "attention"])
def test_gauss_newton_products_are_those_of_the_outputs_jacobian(kind: str) -> None:
    batch, tensors = _batch(kind)
    (w,) = tensors

    def outputs(flat: Tensor) -> Tensor:
        """Scaled so that the loss is the sum of squares."""
        return torch.cat([(y / y.numel() ** 0.5).flatten() for y in batch._run([flat.view(w.shape)])])

    point = batch.at(tensors, "ggn")
    with sdpa_kernel(SDPBackend.MATH):
        j = torch.autograd.functional.jacobian(outputs, w.flatten())
    v = torch.randn_like(w)
    expected = 2 * j.T @ (j @ v.flatten())
    torch.testing.assert_close(point.product([v])[0].flatten(), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(point.gradient[0], batch.at(tensors, "hessian").gradient[0], rtol=1e-9, atol=1e-12)
    if kind == "block":  # piecewise linear in one layer's weights: there is nothing but the Gauss-Newton part
        hessian = batch.at(tensors, "hessian").product([v])[0].flatten()
        torch.testing.assert_close(expected, hessian, rtol=1e-8, atol=1e-11)


def test_the_product_of_a_large_layer_is_whole() -> None:
    """200,000 weights: central differences of the gradient, which know nothing of chunks."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(400, 500), nn.Softplus(), nn.Linear(500, 10)).double().eval()
    traced, x = trace(module, (400,)), torch.randn(16, 400, dtype=torch.float64)
    cascade, place = _place(traced, twin(traced), x, "0.weight")
    assert place.value.numel() == 200_000
    batch = place.batch(place.window(["0.weight"], None), 0)
    w, v = place.value * half(place.value.shape), torch.randn_like(place.value)
    step = 1e-4
    up, down = (batch.at([w + sign * step * v], "hessian").gradient[0] for sign in (1, -1))
    got = batch.at([w], "hessian").product([v])[0]
    expected = (up - down) / (2 * step)
    assert float((got - expected).norm() / expected.norm()) < 1e-6
    cascade.close()
