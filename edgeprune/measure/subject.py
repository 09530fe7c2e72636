"""A bundle, loaded on this machine; and what the machine is to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.cores import usable_cpus
from edgeprune.engine.runner import Runner, RuntimeName, choose_runtime, open_runner, runtime_mismatch
from edgeprune.measure.golden import load_golden
from edgeprune.measure.match import saturates, target_mismatch, warnings
from edgeprune.measure.probe import Host
from edgeprune.spec.bundle import Bundle, open_bundle
from edgeprune.spec.machine import Conditions, Machine

SATURATES = (
    "without VNNI the fast kernels saturate on 8-bit weights, so the bundle ran in the exact, slower mode; "
    "export for cpu-x86-avx2"
)


@dataclass(frozen=True)
class Subject:
    """A bundle, loaded on this machine."""

    bundle: Bundle
    runner: Runner
    runtime: RuntimeName
    exact: bool
    threads: int | None

    def input(self, batch: int) -> NDArray[np.float32]:
        """Golden inputs, repeated to a batch."""
        return np.resize(load_golden(self.bundle).input, (batch, *self.bundle.manifest.input.shape))

    def again(self) -> Runner:
        return open_runner(self.bundle, self.threads, exact=self.exact, runtime=self.runtime)


def open_subject(path: Path, host: Host, threads: int | None, asked: RuntimeName | None) -> Subject:
    """Verify a bundle's hashes and load it.

    Raises:
        EdgepruneError: a damaged bundle, or a runtime that is not here.
    """
    bundle = open_bundle(path)
    runtime = choose_runtime(bundle, asked)
    exact = saturates(host, bundle.manifest)
    runner = open_runner(bundle, threads, exact=exact, runtime=runtime)
    return Subject(bundle, runner, runtime, exact, threads)


def machine_of(host: Host, subject: Subject, conditions: Conditions | None) -> Machine:
    """The machine as a profile has it."""
    manifest, runner = subject.bundle.manifest, subject.runner
    reasons = [target_mismatch(host, manifest.target), runtime_mismatch(manifest, subject.runtime)]
    if subject.exact:
        reasons.append(SATURATES)
    apart = "; ".join(reason for reason in reasons if reason)
    board, clocks = host.board, host.clocks
    return Machine(
        device=host.device,
        processor=host.processor,
        cores=host.cores,
        threads=runner.threads,
        memory_bytes=host.memory_bytes,
        cpu_flags=list(host.flags),
        governor=host.governor,
        matches_target=not apart,
        mismatch=apart or None,
        warnings=tuple(warnings(host, manifest.target)),
        gpus=host.gpus,
        compute_capability=board.compute_capability if board is not None else None,
        module=board.module if board is not None else None,
        soc=board.soc if board is not None else None,
        l4t=board.l4t if board is not None else None,
        jetpack=board.jetpack if board is not None else None,
        power_mode=board.power_mode if board is not None else None,
        clocks_locked=clocks.locked if clocks is not None else None,
        gpu_governor=clocks.gpu_governor if clocks is not None else None,
        affinity=tuple(usable_cpus()),
        runtime_settings=runner.settings,
        conditions=conditions,
    )
