"""profile_bundle: check a bundle's answers on this machine, then measure it."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune import __version__
from edgeprune.engine.runner import RuntimeName
from edgeprune.errors import EdgepruneError
from edgeprune.measure.accuracy import find_images, measure_accuracy
from edgeprune.measure.clocks import Watch
from edgeprune.measure.contention import watch_contention
from edgeprune.measure.golden import check_golden
from edgeprune.measure.latency import Calls, measure_latency, measure_streams
from edgeprune.measure.layer_rows import layer_costs, layer_rows
from edgeprune.measure.memory import Loading, measure_memory
from edgeprune.measure.paired import measure_paired
from edgeprune.measure.power import Idle, find_sensor, power_of, unmeasured
from edgeprune.measure.probe import Host, probe
from edgeprune.measure.sensors.meter import read_meter
from edgeprune.measure.sensors.sampling import Sampler
from edgeprune.measure.software import versions
from edgeprune.measure.subject import Subject, machine_of, open_subject
from edgeprune.progress import Tick, silent
from edgeprune.spec.bundle import MODEL
from edgeprune.spec.machine import Conditions
from edgeprune.spec.power import Power
from edgeprune.spec.profile import Memory, Profile, Ratio

SECONDS = 10.0
IDLE_S = 30.0
"""Of the baseline at the most; no longer than the calls are timed."""


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
    subject = open_subject(Path(path), host, threads, wishes.runtime)
    other = open_subject(wishes.against, host, threads, wishes.runtime) if wishes.against is not None else None
    manifest, runner = subject.bundle.manifest, subject.runner
    if wishes.layers and not manifest.layers:
        raise EdgepruneError(
            f"{path}: describes no layers, so there is no table. Export it again, or leave --layers out."
        )
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
        machine=machine_of(host, subject, conditions),
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
        layers=layer_rows(subject, batch, latency.p50, tick),
        loads=tuple(loads),
        ratio=_ratio(subject, other, batch, seconds, tick) if other is not None else None,
        measured_accuracy=measure_accuracy(subject.bundle, runner, images, tick) if images is not None else None,
        predicted_ms=manifest.predicted_latency_ms,
        predicted_from=manifest.predicted_from,
        layer_costs=layer_costs(subject, host, tick) if wishes.layers else None,
    )
    return profile, calls


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
        contention = watch_contention(wishes.root)
        calls = measure_latency(subject.runner, x, seconds, tick)
        waited_share = contention.share(subject.runner.threads)
    finally:
        trace = sampler.stop()
    conditions = sampler.watch.conditions(waited_share)
    if wishes.meter is not None:
        try:
            trace = read_meter(wishes.meter, offset)
        except EdgepruneError as fault:  # the latencies stand without it
            return calls, unmeasured(str(fault)), conditions
    return calls, power_of(trace, calls, idle) if trace is not None else unmeasured(str(sensor)), conditions


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
