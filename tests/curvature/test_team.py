"""Two processes on one estimate, as torchrun starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgeprune.curvature.curvature import load_curvature
from edgeprune.curvature.team import Team

WORKER = """
import sys
import torch
from edgeprune.curvature.curvature import save_curvature
from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.team import join_team
from edgeprune.curvature.trace import channel_traces
from edgeprune.progress import silent
from pathlib import Path
from tests.curvature.oracle import problem

team, folder = join_team(), Path(sys.argv[1])
for name in ("smooth", "rectified"):
    for size in (4, 10):  # three batches for two processes; and one, whose probes are dealt out
        traced, weights, x, y = problem(name)
        probing = Probing(probes=9, batch_size=size)
        found = channel_traces(traced, dict.fromkeys(weights, 0), x, y, probing, silent, team=team)
        v = torch.randn(sum(traced.module.get_parameter(n).numel() for n in weights), 3, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(5))
        product = Matrix(traced, weights, x, y, probing, team=team).product(v)
        torch.save(product, folder / f"{name}-{size}-{team.size}-{team.rank}.pt")
        save_curvature(found, folder / f"{name}-{size}-{team.size}-{team.rank}.safetensors")
"""


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    for count in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        subprocess.run(
            [*command, str(script), str(tmp_path)],
            check=True,
            capture_output=True,
            env={"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        )
    for name in ("smooth", "rectified"):
        for size in (4, 10):
            alone = load_curvature(tmp_path / f"{name}-{size}-1-0.safetensors")
            product = torch.load(tmp_path / f"{name}-{size}-1-0.pt")
            for rank in (0, 1):
                shared = load_curvature(tmp_path / f"{name}-{size}-2-{rank}.safetensors")
                for weight, samples in alone.per_probe.items():
                    torch.testing.assert_close(shared.per_probe[weight], samples, rtol=1e-5, atol=1e-9)
                other = torch.load(tmp_path / f"{name}-{size}-2-{rank}.pt")
                torch.testing.assert_close(other, product, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("batches", [1, 2, 3, 5, 8])
def test_every_batch_and_probe_is_one_process_s(size: int, batches: int) -> None:
    seen = []
    for rank in range(size):
        mine, probes = Team(rank, size).part(batches)
        seen += [(b, p) for b in range(batches)[mine] for p in range(12)[probes]]
    assert sorted(seen) == [(b, p) for b in range(batches) for p in range(12)]
