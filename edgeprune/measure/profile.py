"""profile_bundle: check a bundle's answers on this machine, then measure it."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import os
import platform
import tempfile
from pathlib import Path

import numpy as np

from edgeprune import __version__
from edgeprune.engine.ort_layers import layer_times
from edgeprune.engine.runner import open_runner
from edgeprune.engine.trt.offer import available
from edgeprune.errors import EdgepruneError
from edgeprune.measure.golden import check_golden, load_golden
from edgeprune.measure.latency import measure_latency
from edgeprune.measure.match import saturates, target_mismatch
from edgeprune.measure.memory import measure_memory
from edgeprune.measure.power import measure_power
from edgeprune.measure.probe import Host, probe
from edgeprune.progress import Tick, silent
from edgeprune.spec.bundle import MODEL, Bundle, open_bundle
from edgeprune.spec.profile import LayerTime, Machine, Profile

LAYER_CALLS = 50
"""The runtime's profiler writes every node of every call: enough for a median, small enough for its file."""
SATURATES = (
    "without VNNI the fast kernels saturate on 8-bit weights, so the bundle ran in the exact, slower mode; "
    "export for cpu-x86-avx2"
)


def profile_bundle(
    path: str | Path,
    seconds: float = 3.0,
    threads: int | None = None,
    batch: int = 1,
    tick: Tick = silent,
) -> Profile:
    """Verify a bundle's hashes, check its golden outputs, and measure it on this machine.

    Raises:
        EdgepruneError: a damaged bundle, answers beyond the tolerance, or a runtime that is not here.
    """
    if seconds <= 0 or batch < 1 or (threads is not None and threads < 1):
        raise EdgepruneError("seconds, threads and batch must be positive.")
    tick("checking the bundle", 0, 1)
    bundle = open_bundle(Path(path))
    _refuse_foreign(bundle)
    manifest, host = bundle.manifest, probe()
    exact = saturates(host, manifest)
    runner = open_runner(bundle, threads, exact=exact)
    golden = check_golden(bundle, runner)
    tick("checking the bundle", 1, 1)
    shape = (batch, *manifest.input.shape)
    x = np.resize(load_golden(bundle).input, shape)
    latency = measure_latency(runner, x, seconds, tick)
    tick("measuring memory", 0, 1)
    memory = measure_memory(bundle.model, shape, runner.threads, exact=exact)
    tick("measuring memory", 1, 1)
    tick("timing layers", 0, 1)
    times = layer_times(bundle.model, x, LAYER_CALLS, runner.threads, exact=exact)
    tick("timing layers", 1, 1)
    return Profile(
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        edgeprune_version=__version__,
        bundle_sha256=bundle.digest,
        model_sha256=manifest.files[MODEL].sha256,
        name=manifest.name,
        target=manifest.target,
        precision=manifest.precision,
        runtime=runner.runtime,
        versions=versions(),
        machine=_machine(host, bundle, runner.threads),
        golden=golden,
        latency_ms=latency,
        memory=memory,
        power=measure_power(),
        macs=manifest.macs,
        params=manifest.params,
        int8_macs_share=manifest.int8_macs_share,
        accuracy=manifest.accuracy,
        accuracy_se=manifest.accuracy_se,
        recipe=manifest.recipe,
        layers=_shared_out(times, latency.p50 / batch),
    )


def _shared_out(times: dict[str, float], whole_ms: float) -> tuple[LayerTime, ...]:
    """The time of a call, shared out as the profiler's times are: the profiler itself slows every node."""
    total = max(sum(times.values()), 1e-9)
    return tuple(LayerTime(name=name, ms=whole_ms * ms / total) for name, ms in times.items())


def write_profile(profile: Profile, folder: Path) -> Path:
    """Write `TARGET/NAME-MODELHASH12.json` into a folder, by atomic rename, and return its path."""
    parts = (profile.target, profile.name)
    target, name = ("".join(c if c.isalnum() or c in "-_." else "-" for c in part) for part in parts)
    path = folder / target / f"{name}-{profile.model_sha256[:12]}.json"
    text = profile.model_dump_json(by_alias=True, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".profile-")
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be written ({error.strerror}). Name a folder with -o.") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(unfinished).chmod(0o644)  # mkstemp's 0600 is for secrets
        Path(unfinished).replace(path)
    except OSError as error:
        Path(unfinished).unlink(missing_ok=True)
        raise EdgepruneError(f"{path}: cannot be written ({error.strerror}). Name a folder with -o.") from None
    return path


def versions() -> dict[str, str]:
    """Versions of what decides the figures, as far as it is installed."""
    found = {"python": platform.python_version(), "edgeprune": __version__, "system": platform.platform()}
    for package in ("numpy", "onnxruntime"):
        if importlib.util.find_spec(package):
            found[package] = str(importlib.import_module(package).__version__)
    return found


def _refuse_foreign(bundle: Bundle) -> None:
    if bundle.manifest.runtime != "tensorrt":
        return
    made_for = f"{bundle.path}: made for TensorRT; its engine is built on the device"
    if available():
        raise EdgepruneError(f"{made_for}. edgeprune build {bundle.path} builds it here and measures it.")
    raise EdgepruneError(f"{made_for}. There is no TensorRT here: profile it on the {bundle.manifest.target}.")


def _machine(host: Host, bundle: Bundle, threads: int) -> Machine:
    reasons = [target_mismatch(host, bundle.manifest.target)]
    if saturates(host, bundle.manifest):
        reasons.append(SATURATES)
    apart = "; ".join(reason for reason in reasons if reason)
    return Machine(
        device=host.device,
        processor=host.processor,
        cores=host.cores,
        threads=threads,
        memory_bytes=host.memory_bytes,
        cpu_flags=list(host.flags),
        governor=host.governor,
        matches_target=not apart,
        mismatch=apart or None,
    )
