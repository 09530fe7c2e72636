"""profile_bundle: check a bundle's answers on this machine, then measure it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune import __version__
from edgeprune.engine.cores import usable_cpus
from edgeprune.engine.ort_layers import NodeTime
from edgeprune.engine.runner import Runner, RuntimeName, choose_runtime, open_runner, runtime_mismatch
from edgeprune.errors import EdgepruneError
from edgeprune.measure.accuracy import find_images, measure_accuracy
from edgeprune.measure.clocks import Watch
from edgeprune.measure.golden import check_golden, load_golden
from edgeprune.measure.latency import Calls, measure_latency, measure_streams
from edgeprune.measure.layer_bench import Bench, measure_layers
from edgeprune.measure.match import saturates, target_mismatch, warnings
from edgeprune.measure.memory import Loading, measure_memory
from edgeprune.measure.paired import measure_paired
from edgeprune.measure.power import Idle, find_sensor, power_of, unmeasured
from edgeprune.measure.probe import Host, probe
from edgeprune.measure.sensors.meter import read_meter
from edgeprune.measure.sensors.sampling import Sampler
from edgeprune.measure.software import versions
from edgeprune.progress import Tick, silent
from edgeprune.spec.bundle import MODEL, Bundle, open_bundle
from edgeprune.spec.layer_costs import LayerCosts
from edgeprune.spec.machine import Conditions, Machine
from edgeprune.spec.power import Power
from edgeprune.spec.profile import LayerTime, Memory, Profile, Ratio
from edgeprune.spec.target import ALIASES, known_targets, load_target

SECONDS = 10.0
LAYER_CALLS = 50
"""The runtime's profiler writes every node of every call: enough for a least, small enough for its file."""
IDLE_S = 30.0
"""Of the baseline at the most; no longer than the calls are timed."""
MULTIPLE = 8
SATURATES = (
    "without VNNI the fast kernels saturate on 8-bit weights, so the bundle ran in the exact, slower mode; "
    "export for cpu-x86-avx2"
)


@dataclass(frozen=True)
class Wishes:
    """What to measure beside one stream at one batch size."""

    runtime: RuntimeName | None = None
    batches: tuple[int, ...] = ()
    streams: tuple[int, ...] = ()
    against: Path | None = None
    """A bundle to compare with, both timed in turn."""
    meter: Path | None = None
    """The log of an external power meter."""
    data: Path | None = None
    """Class folders of test images."""
    layers: bool = False
    """A table of layer shapes, for budgets in milliseconds."""
    root: Path = field(default=Path("/"))
    """Where /proc and /sys are."""


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


def profile_bundle(
    path: str | Path,
    seconds: float = SECONDS,
    threads: int | None = None,
    batch: int = 1,
    tick: Tick = silent,
    wishes: Wishes = Wishes(),
) -> Profile:
    """Verify a bundle's hashes, check its golden outputs, and measure it on this machine.

    Raises:
        EdgepruneError: a damaged bundle, answers beyond the tolerance, or a runtime that is not here.
    """
    return profile_with_calls(path, seconds, threads, batch, tick, wishes)[0]


def profile_with_calls(
    path: str | Path, seconds: float, threads: int | None, batch: int, tick: Tick, wishes: Wishes
) -> tuple[Profile, Calls]:
    """Like `profile_bundle`, and the timed calls one by one."""
    sizes = [batch, *wishes.batches, *wishes.streams]
    if seconds <= 0 or min(sizes) < 1 or (threads is not None and threads < 1):
        raise EdgepruneError("seconds, threads, batch and streams must be positive.")
    tick("checking the bundle", 0, 1)
    host = probe(wishes.root)
    subject = _open(Path(path), host, threads, wishes.runtime)
    other = _open(wishes.against, host, threads, wishes.runtime) if wishes.against is not None else None
    manifest, runner = subject.bundle.manifest, subject.runner
    images = find_images(wishes.data, subject.bundle) if wishes.data is not None else None
    golden = check_golden(subject.bundle, runner)
    if other is not None:
        check_golden(other.bundle, other.runner)
    tick("checking the bundle", 1, 1)
    calls, power, conditions = _timed(subject, subject.input(batch), seconds, tick, wishes)
    latency = calls.latency()
    loads = [each.latency() for each in _loads(subject, batch, seconds, tick, wishes)]
    profile = Profile(
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        edgeprune_version=__version__,
        bundle_sha256=subject.bundle.digest,
        model_sha256=manifest.files[MODEL].sha256,
        name=manifest.name,
        target=manifest.target,
        precision=manifest.precision,
        runtime=runner.runtime,
        versions=versions(wishes.root),
        machine=_machine(host, subject, conditions),
        golden=golden,
        latency_ms=latency,
        memory=_memory(subject, host, batch, tick),
        power=power,
        macs=manifest.macs,
        params=manifest.params,
        int8_macs_share=manifest.int8_macs_share,
        accuracy=manifest.accuracy,
        accuracy_se=manifest.accuracy_se,
        recipe=manifest.recipe,
        layers=_layers(subject, batch, latency.p50, tick),
        loads=tuple(loads),
        ratio=_ratio(subject, other, batch, seconds, tick) if other is not None else None,
        measured_accuracy=measure_accuracy(subject.bundle, runner, images, tick) if images is not None else None,
        predicted_ms=manifest.predicted_latency_ms,
        predicted_from=manifest.predicted_from,
        layer_costs=_layer_costs(subject, host, tick) if wishes.layers else None,
    )
    return profile, calls


def _open(path: Path, host: Host, threads: int | None, asked: RuntimeName | None) -> Subject:
    bundle = open_bundle(path)
    runtime = choose_runtime(bundle, asked)
    exact = saturates(host, bundle.manifest)
    runner = open_runner(bundle, threads, exact=exact, runtime=runtime)
    return Subject(bundle, runner, runtime, exact, threads)


def _timed(
    subject: Subject, x: NDArray[np.float32], seconds: float, tick: Tick, wishes: Wishes
) -> tuple[Calls, Power, Conditions | None]:
    """Time calls with the sensors running along."""
    sensor = find_sensor(wishes.root, subject.runner.on_gpu) if wishes.meter is None else "the external meter counts"
    sampler = Sampler(None if isinstance(sensor, str) else sensor, Watch(wishes.root))
    offset = time.perf_counter() - time.time()
    idle = None
    sampler.start()
    try:
        if wishes.meter is not None or not isinstance(sensor, str):
            idle = _idle(min(IDLE_S, seconds), tick)
        calls = measure_latency(subject.runner, x, seconds, tick)
    finally:
        trace = sampler.stop()
    if wishes.meter is not None:
        trace = read_meter(wishes.meter, offset)
    power = power_of(trace, calls, idle) if trace is not None else unmeasured(str(sensor))
    return calls, power, sampler.watch.conditions()


def _idle(seconds: float, tick: Tick) -> Idle:
    """Let the machine rest, the network loaded: what it takes then is no inference's."""
    begin = time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        tick("measuring the idle machine", int(100 * spent / seconds), 100)
        time.sleep(min(0.2, seconds - spent))
    tick("measuring the idle machine", 100, 100)
    return Idle(begin, time.perf_counter())


def _loads(subject: Subject, batch: int, seconds: float, tick: Tick, wishes: Wishes) -> list[Calls]:
    """The batch sizes and numbers of streams that were asked for beside the first."""
    found = [
        measure_latency(subject.runner, subject.input(size), seconds, tick) for size in wishes.batches if size != batch
    ]
    for streams in (count for count in wishes.streams if count > 1):
        for size in dict.fromkeys((batch, *wishes.batches)):
            found.append(measure_streams(subject.runner, subject.input(size), seconds, streams, tick))
    return found


def _ratio(subject: Subject, other: Subject, batch: int, seconds: float, tick: Tick) -> Ratio:
    found = measure_paired(subject.again, other.again, (subject.input(batch), other.input(batch)), seconds, tick)
    return Ratio(
        against=other.bundle.manifest.name,
        against_model_sha256=other.bundle.manifest.files[MODEL].sha256,
        ratio=found.ratio(),
        pairs=found.pairs,
        loads=len(found.ratios),
        p50=found.first_ms,
        against_p50=found.second_ms,
    )


def _memory(subject: Subject, host: Host, batch: int, tick: Tick) -> Memory:
    tick("measuring memory", 0, 1)
    shape = (batch, *subject.bundle.manifest.input.shape)
    loading = Loading(subject.runtime, subject.exact, unified=host.board is not None)
    memory = measure_memory(subject.bundle.model, shape, subject.runner.threads, loading)
    tick("measuring memory", 1, 1)
    return memory


def _layers(subject: Subject, batch: int, p50: float, tick: Tick) -> tuple[LayerTime, ...] | None:
    """The median call, shared out as the profiler's times are: the profiler itself slows every node."""
    tick("timing layers", 0, 1)
    times = subject.runner.layer_times(subject.input(batch), LAYER_CALLS)
    tick("timing layers", 1, 1)
    if times is None:
        return None
    total = max(sum(row.ms for row in times), 1e-9)
    shared = [NodeTime(row.name, p50 / batch * row.ms / total, row.op, row.int8) for row in times]
    return tuple(_named(shared, subject.bundle))


def _named(times: Sequence[NodeTime], bundle: Bundle) -> list[LayerTime]:
    """The rows under the layers' names, with their shapes; one that fused what follows may go by that's name."""
    shapes = {shape.name: shape for shape in bundle.manifest.layers}
    rows = {row.name: row for row in times}
    owner = {name: name for name in shapes if name in rows}
    for name, shape in shapes.items():
        alias = next((alias for alias in shape.aliases if alias in rows and alias not in owner.values()), None)
        if name not in owner and alias is not None:
            owner[name] = alias
    layer = {row: name for name, row in owner.items()}
    return [
        LayerTime(
            name=layer.get(row.name, row.name),
            ms=row.ms,
            op=row.op or None,
            int8=row.int8,
            shape=shapes.get(layer.get(row.name, "")),
        )
        for row in times
    ]


def _layer_costs(subject: Subject, host: Host, tick: Tick) -> LayerCosts:
    manifest = subject.bundle.manifest
    known = ALIASES.get(manifest.target, manifest.target) in known_targets()
    bench = Bench(
        target=manifest.target,
        precision=manifest.precision,
        dialect=manifest.lowering,  # type: ignore[arg-type] # one of the three
        runtime=subject.runtime,
        threads=subject.threads,
        exact=subject.exact,
        multiple=load_target(manifest.target).channel_multiple.value if known else MULTIPLE,
    )
    return measure_layers(manifest.layers, bench, host, tick)


def _machine(host: Host, subject: Subject, conditions: Conditions | None) -> Machine:
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
