"""Terms of sums that are cut each alone: spread over what the sum keeps, proven, shipped, trained and cut again."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import Phase, given, settings
from torch import nn

from edgeprune.compact.apply import compact
from edgeprune.compact.check import prove
from edgeprune.compact.rewrite import cut
from edgeprune.compact.spread import count_spreads
from edgeprune.exporting.onnx import to_onnx
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.groups import channel_groups
from edgeprune.model.provenance import Provenance, provenance
from edgeprune.model.traced import Traced, load, save, trace
from tests.compact.test_compact import _some_units
from tests.compact.test_random_graphs import PROGRAMS, SEEDS
from tests.random_graphs import SHAPE as SIZE
from tests.random_graphs import Program, assemble
from tests.zoo import SHAPE, build

WITH_SUMS = (
    "Residual",
    "OptionA",
    "FusedAttention",
    "ModuleAttention",
    "BiasedAttention",
    "TalkingHeads",
    "GroupedQueries",
    "ChannelAttention",
    "TokenMixing",
    "Einsum",
    "Windows",
)


def _ground(name: str) -> tuple[Traced, Provenance]:
    traced = trace(build(name), SHAPE)
    return traced, provenance(traced, coupling="union")


def _thin(name: str, seed: int) -> Traced:
    traced, found = _ground(name)
    return compact(traced, found, _some_units(channel_groups(found), seed), torch.randn(2, *SHAPE))[0]


@pytest.mark.parametrize("name", WITH_SUMS)
def test_random_cuts_are_proven_and_can_be_cut_again(name: str) -> None:
    traced, found = _ground(name)
    assert found.sums
    x = torch.randn(3, *SHAPE)
    for seed in range(4):
        units = found.closed(_some_units(channel_groups(found), seed))
        assert prove(traced.module, cut(traced.module, found, units), found, units, x).float64 <= 1e-9
    thin, proof = compact(traced, found, units, x)
    assert proof.float64 <= 1e-9
    again = provenance(thin, coupling="union")
    units = _some_units(channel_groups(again), 9)
    assert units
    thinner, proof = compact(thin, again, units, x)
    assert proof.float64 <= 1e-9
    before, after = (sum(p.numel() for p in t.module.parameters()) for t in (thin, thinner))
    assert after < before


def test_terms_are_padded_where_their_channels_are_a_range_and_gathered_where_not() -> None:
    traced, found = _ground("Residual")
    stem, last = found.axes["stem.0.weight"][0].tolist(), found.axes["b.0.weight"][0].tolist()
    units = frozenset([*stem[:4], *last[:2], last[6], last[9]])
    assert count_spreads(traced.module.graph, found, units) == 2
    thin, _ = compact(traced, found, units, torch.randn(2, *SHAPE))
    # Channels 0 and 1 are in neither term; the stem's are the last 12 of the 14 that stay.
    assert thin.module.get_parameter("c.0.weight").shape[1] == 14
    pads = {tuple(n.args[1]) for n in thin.module.graph.nodes if n.target == torch.ops.aten.pad.default}
    picks = [n for n in thin.module.graph.nodes if n.target == torch.ops.aten.index_select.default]
    assert pads == {(0, 0, 0, 0, 2, 0), (0, 0, 0, 0, 0, 2)}
    assert len(picks) == 1
    order = thin.module.get_buffer(str(picks[0].args[2].target))
    assert order.dtype == torch.int64
    assert order.tolist() == [0, 1, 2, 3, 12, 4, 5, 13, 6, 7, 8, 9, 10, 11]


def test_equal_cuts_of_all_terms_need_no_spreading() -> None:
    traced, found = _ground("Residual")
    units = frozenset(unit for name in ("stem.0", "b.0") for unit in found.axes[f"{name}.weight"][0].tolist()[::2])
    assert count_spreads(traced.module.graph, found, units) == 0
    thin, _ = compact(traced, found, units, torch.randn(2, *SHAPE))
    assert thin.module.get_parameter("c.0.weight").shape[1] == 8
    assert not any("pad" in n.name or "index_select" in n.name for n in thin.module.graph.nodes)


def test_a_branch_without_channels_inside_is_its_bias_spread_over_the_sum() -> None:
    traced, found = _ground("Residual")
    inside, last = (found.axes[f"{name}.weight"][0].tolist() for name in ("a.0", "b.0"))
    thin, proof = compact(traced, found, frozenset([*inside, *last[::3]]), torch.randn(3, *SHAPE))
    assert proof.float64 <= 1e-9
    assert not [name for name, _ in thin.module.named_parameters() if name.startswith("a.")]


@pytest.mark.parametrize("name", ["Residual", "OptionA", "FusedAttention"])
def test_it_is_saved_loaded_and_trained(name: str, tmp_path) -> None:
    thin = _thin(name, 1)
    save(thin, tmp_path / "thin.pt2")
    again = load(tmp_path / "thin.pt2")
    x, y = torch.randn(16, *SHAPE), torch.randint(0, 5, (16,))
    assert torch.equal(again.module(x), thin.module(x))
    optimizer = torch.optim.SGD(again.module.parameters(), lr=0.02)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(again.module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["Residual", "OptionA", "FusedAttention"])
def test_onnx_computes_the_same(name: str) -> None:
    thin = _thin(name, 2)
    model = to_onnx(fold_batch_norm(thin), 18)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.randn(3, *SHAPE)
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(got, thin.module(x).numpy(), rtol=1e-4, atol=1e-5)


@given(PROGRAMS, SEEDS)
@settings(max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
def test_random_cuts_of_random_networks(program: Program, seed: int) -> None:
    traced = trace(assemble(program, seed), SIZE)
    found = provenance(traced, coupling="union")
    groups = channel_groups(found)
    x = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed))
    for number in range(2 if groups else 0):
        units = found.closed(_some_units(groups, seed + number))
        assert prove(traced.module, cut(traced.module, found, units), found, units, x).float64 <= 1e-9
