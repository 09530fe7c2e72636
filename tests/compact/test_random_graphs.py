"""Compacted = masked on networks put together at random, whatever is cut from them."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from edgeprune.compact.apply import Compacted, compact
from edgeprune.compact.check import prove
from edgeprune.compact.implant import implanted
from edgeprune.compact.rewrite import cut
from edgeprune.model.count import macs, params
from edgeprune.model.groups import Group, channel_groups
from edgeprune.model.provenance import provenance
from edgeprune.model.traced import trace
from edgeprune.pruning.implants import choose_with_implants
from edgeprune.pruning.levels import Limits
from edgeprune.pruning.plan import survey
from edgeprune.pruning.score import Scores
from edgeprune.spec.budget import Budget
from tests.random_graphs import SHAPE, STEPS, Program, assemble

CUTS = 3
PROGRAMS = st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 2**16)), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**16)


def _some_units(groups: list[Group], seed: int) -> frozenset[int]:
    """Some units of some groups, one at least; of every group one stays."""
    draw = random.Random(seed)
    some = draw.sample(groups, draw.randint(1, len(groups)))
    return frozenset(unit for group in some for unit in draw.sample(group.units, draw.randint(1, len(group.units) - 1)))


def _proven_cuts(program: Program, seed: int) -> int:
    """Prove random cuts of a program's network, and export one of them; returns how many cuts that were."""
    traced = trace(assemble(program, seed), SHAPE)
    found = provenance(traced)
    groups = channel_groups(found)
    if not groups:
        return 0
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(seed))
    for number in range(CUTS - 1):
        units = _some_units(groups, seed + number)
        thin = cut(traced.module, found, units)
        assert prove(traced.module, thin, found, units, x).float64 <= 1e-9
    units = _some_units(groups, seed - 1)
    smaller, proof = compact(traced, found, units, x)
    assert proof.float64 <= 1e-9
    before, after = (sum(p.numel() for p in t.module.parameters()) for t in (traced, smaller))
    assert after < before
    return CUTS


@given(PROGRAMS, SEEDS)
@settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
def test_random_cuts_of_random_networks(program: Program, seed: int) -> None:
    _proven_cuts(program, seed)


@given(PROGRAMS, SEEDS)
@settings(max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
def test_implants_in_random_networks(program: Program, seed: int) -> None:
    """Every network with implants is proven, and has the multiply-adds and parameters that its choice says."""
    traced = trace(assemble(program, seed), SHAPE)
    ground, draw = survey(traced), random.Random(seed)
    assume(ground.groups)
    scores = Scores({g.name: torch.tensor([draw.random() for _ in g.units]).double() for g in ground.groups})
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(seed))
    cuts = choose_with_implants(ground, scores, Budget(sparsity=0.1), Limits(1, 0.9), frozenset(), 0.5)
    thin, proof = compact(traced, ground.found, cuts.units, x)
    done = implanted(Compacted(thin, cuts, proof, {}), ground, x)
    assert done.proof.float64 <= 1e-9
    assert macs(done.traced) / macs(traced) == pytest.approx(cuts.reached["macs"])
    assert params(done.traced) / params(traced) == pytest.approx(cuts.reached["params"])


@pytest.mark.slow
def test_500_random_cuts() -> None:
    """Random networks that hypothesis shortens where one fails; most of them can be cut."""
    proven, networks = 0, 0

    @given(PROGRAMS, SEEDS)
    @settings(max_examples=180, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def check(program: Program, seed: int) -> None:
        nonlocal proven, networks
        networks += 1
        proven += _proven_cuts(program, seed)

    check()
    assert proven >= 500


@pytest.mark.parametrize("kind", sorted(STEPS))
def test_a_network_of_one_step_keeps_channels_free(kind: str) -> None:
    """No step is so frozen that the stem and its own layers cannot be cut at all, over a few draws of it."""
    assert any(channel_groups(provenance(trace(assemble([(kind, seed)], seed), SHAPE))) for seed in range(3))
