"""Several processes on one estimate: which part is whose, and sums over all.

`torchrun` starts the processes and says who is who through the environment; `torch.distributed` carries the sums (NCCL
between CUDA devices, gloo elsewhere). One process is a team of one, which needs neither.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from edgeprune.errors import EdgepruneError


@dataclass(frozen=True)
class Team:
    """One process among `size` of them."""

    rank: int = 0
    size: int = 1

    def part(self, batches: int) -> tuple[slice, slice]:
        """My batches and my probes, as slices over both: every pair is one process's.

        Batches are dealt out first; probes where there are more processes than batches.
        """
        shares = max(n for n in range(1, self.size + 1) if self.size % n == 0 and n <= max(batches, 1))
        return slice(self.rank % shares, None, shares), slice(self.rank // shares, None, self.size // shares)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the team, in place."""
        if self.size > 1:
            for tensor in tensors:
                _all_reduce(tensor)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0


def _all_reduce(tensor: Tensor) -> None:
    where = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else tensor.device
    moved = tensor.to(where).contiguous()
    distributed.all_reduce(moved)
    tensor.copy_(moved)


def join_team() -> Team:
    """The team that `torchrun` started this process in, or a team of one.

    Raises:
        EdgepruneError: there are CUDA devices, but not one for each process.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if size == 1:
        return Team()
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise EdgepruneError(
                f"process {local} has no CUDA device of its own: there are {torch.cuda.device_count()}. "
                "Start as many processes as devices (torchrun --nproc-per-node)."
            )
        torch.cuda.set_device(local)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Team(distributed.get_rank(), distributed.get_world_size())
