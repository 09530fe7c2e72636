"""Judging spread over processes or hosts, by Ray.

The network travels as a file that needs no user code, once per worker; after that an allocation is a few numbers. A
cluster is found where Ray itself looks for one (`RAY_ADDRESS`); without, workers are started on this machine.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
import torch
from ray.util import ActorPool
from torch import Tensor

from edgeprune.allocation.bench import Bench, Judge, Verdict, from_bytes, to_bytes
from edgeprune.allocation.parts import Kept, Lot
from edgeprune.errors import EdgepruneError
from edgeprune.model.device import device_of
from edgeprune.model.traced import Traced


class _Worker:
    """A bench in a process of its own."""

    def __init__(self, network: bytes, lot: Lot, x: Tensor, y: Tensor, half: bool, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._bench = Bench(from_bytes(network, torch.device(device)), lot, x, y, half)

    def judge(self, kept: Kept) -> Verdict:
        return self._bench([kept])[0]


@contextmanager
def ray_judge(traced: Traced, lot: Lot, x: Tensor, y: Tensor, workers: int, half: bool) -> Iterator[Judge]:
    """A judge that deals allocations out to workers; its verdicts are those of one process.

    Raises:
        EdgepruneError: the cluster has no room for so many.
    """
    mine = not ray.is_initialized()
    if mine:
        _start(workers)
    try:
        processors, devices = (ray.cluster_resources().get(name, 0.0) for name in ("CPU", "GPU"))
        if processors < workers:
            raise EdgepruneError(f"--ray {workers}: the cluster has {processors:g} CPUs. Ask for as many workers.")
        device = device_of(traced).type
        if device == "cuda" and devices == 0:
            raise EdgepruneError(f"--ray {workers}: the cluster has no GPU. Take --device cpu.")
        threads = max(1, torch.get_num_threads() // workers)
        share = min(1.0, devices / workers) if device == "cuda" else 0
        kind = ray.remote(num_cpus=1, num_gpus=share)(_Worker)
        given = [ray.put(item) for item in (to_bytes(traced), lot, x, y)]
        actors = [kind.remote(*given, half, device, threads) for _ in range(workers)]

        def judge(many: Sequence[Kept]) -> list[Verdict]:
            pool = ActorPool(actors)
            return list(pool.map(lambda actor, kept: actor.judge.remote(kept), list(many)))

        yield judge
        for actor in actors:
            ray.kill(actor)
    finally:
        if mine:
            ray.shutdown()


def _start(workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(num_cpus=workers, include_dashboard=False, **quiet)
