"""One profile as pairs of a name and a text, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeprune.report import figures
from edgeprune.report.layer_costs import off_multiple_line
from edgeprune.spec.machine import Conditions
from edgeprune.spec.power import Interval, Power
from edgeprune.spec.profile import Latency, Memory, Profile

SLOWEST = 5
BUSY = 0.02
FAR = 3
"""Standard errors beyond which an accuracy is another one."""


def profile_table(profile: Profile) -> RenderableType:
    """Return one profile for a rich console."""
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, text in profile_lines(profile):
        drawn.add_row(name, Text(text))
    return Padding(drawn, (0, 0, 1, 0))


def profile_lines(profile: Profile) -> list[tuple[str, str]]:
    """Return a profile's figures as pairs of a name and a text."""
    golden = profile.golden
    lines = [
        ("bundle", f"{profile.name} for {profile.target}, {profile.precision}, {profile.runtime}"),
        ("machine", machine_text(profile)),
        (
            "answers",
            f"{golden.checked} checked, worst relative error {golden.worst:.2g} "
            f"({golden.tolerance:.2g} allowed), {golden.same_class} of {golden.checked} with the same class",
        ),
        ("latency", latency_text(profile.latency_ms)),
        ("throughput", f"{profile.latency_ms.throughput_per_s:.0f} images/s"),
        *(("", load_text(load)) for load in profile.loads),
        ("memory", memory_text(profile.memory)),
        ("power", power_text(profile.power)),
    ]
    return lines + _asked_for(profile)


def _asked_for(profile: Profile) -> list[tuple[str, str]]:
    """What not every profile has."""
    lines = []
    conditions = profile.machine.conditions
    if conditions is not None and conditions.throttled:
        lines.append(("throttled", "\n".join(conditions.throttled)))
    mind = [*profile.machine.warnings, *busy(conditions)]
    if mind:
        lines.append(("mind", "\n".join(mind)))
    if profile.predicted_ms is not None:
        lines.append(("predicted", f"{predicted_text(profile)}\nby {profile.predicted_from}"))
    if profile.ratio is not None:
        lines.append(("ratio", ratio_text(profile)))
    if profile.measured_accuracy is not None:
        lines.append(("accuracy", accuracy_text(profile)))
    if profile.layers:
        slowest = sorted(profile.layers, key=lambda row: -row.ms)[:SLOWEST]
        lines.append(
            ("slowest", "\n".join(f"{row.ms:.3f} ms  {row.name}{f' ({row.op})' if row.op else ''}" for row in slowest))
        )
    if profile.layer_costs is not None:
        lines.append(("layer table", off_multiple_line(profile.layer_costs)))
    return lines


def predicted_text(profile: Profile) -> str:
    """What the budget counted on, and how far from it an image's median is."""
    assert profile.predicted_ms is not None
    apart = 100 * (profile.latency_ms.p50 / profile.latency_ms.batch / profile.predicted_ms - 1)
    return f"{profile.predicted_ms:.3f} ms, measured {apart:+.0f} %"


def busy(conditions: Conditions | None) -> list[str]:
    """Whether other processes took so much of the processor that the figures are theirs too."""
    share = conditions.waited_share if conditions is not None else None
    if share is None or share < BUSY:
        return []
    return [f"the machine was busy: {100 * share:.0f} % of the time the calls waited for other processes"]


def machine_text(profile: Profile) -> str:
    machine = profile.machine
    parts = [machine.processor, figures.several(machine.cores, "core"), figures.several(machine.threads, "thread")]
    if machine.jetpack is not None or machine.l4t is not None:
        parts.append(f"JetPack {machine.jetpack}" if machine.jetpack is not None else f"L4T {machine.l4t}")
    if machine.power_mode is not None:
        parts.append(f"power mode {machine.power_mode.name}")
    return ", ".join(parts) + ("" if machine.mismatch is None else f"; not the target: {machine.mismatch}")


def latency_text(latency: Latency) -> str:
    settled = f"after {latency.warm_up} to warm up" + ("" if latency.settled else ", which did not settle")
    rows = [_percentile("p50", latency.p50, latency.p50_ci), _percentile("p90", latency.p90, latency.p90_ci)]
    if latency.p95 is not None:
        rows.append(_percentile("p95", latency.p95, latency.p95_ci))
    p99 = "p99 not given below 500 calls" if latency.p99 is None else _percentile("p99", latency.p99, latency.p99_ci)
    return "\n".join([*rows, p99, f"{latency.count} calls of {latency.batch}, {settled}"])


def load_text(load: Latency) -> str:
    """One more batch size or number of streams."""
    streams = "" if load.streams == 1 else f", {load.streams} streams"
    return f"batch {load.batch}{streams}: {load.throughput_per_s:.0f} images/s, p50 {load.p50:.3f} ms"


def memory_text(memory: Memory) -> str:
    text = (
        f"{figures.sized(memory.peak_resident_bytes)} at the peak, "
        f"{figures.sized(memory.added_resident_bytes)} of it added by the model "
        f"({figures.sized(memory.model_bytes)} file)"
    )
    further = {
        "private": memory.private_bytes,
        "the runtime's arena": memory.arena_bytes,
        f"GPU, by {memory.gpu_from}": memory.gpu_bytes,
        "shared by CPU and GPU, taken": memory.unified_bytes,
    }
    told = [f"{figures.sized(size)} {name}" for name, size in further.items() if size is not None]
    return "\n".join([text, *([", ".join(told)] if told else [])])


def power_text(power: Power) -> str:
    if not power.measured or power.mean_w is None:
        return f"not measured: {power.reason}"
    rails = f" ({' + '.join(power.rails_included)})" if power.rails_included else ""
    rows = [f"{power.mean_w:.2f} W{rails}, by {power.sensor or 'a sensor'}"]
    if power.gross_mj is not None:
        net = "" if power.net_mj is None else f", {_joules(power.net_mj)} net of the idle {power.idle_w:.2f} W"
        rows.append(f"{_joules(power.gross_mj)} per image{net}")
    elif power.energy_per_inference_mj is not None:
        rows.append(f"{power.energy_per_inference_mj:.2f} mJ per image")
    others = [f"{name} {w:.2f} W" for name, w in power.rails_w.items() if name not in power.rails_included]
    return "\n".join([*rows, *([f"beside it: {', '.join(others)}"] if others else [])])


def ratio_text(profile: Profile) -> str:
    """A over B, and whether the interval leaves it open which is faster."""
    found = profile.ratio
    assert found is not None
    ci = found.ratio.ci
    if ci is None:
        verdict = "too few loads to tell"
    else:
        verdict = "faster" if ci[1] < 1 else "slower" if ci[0] > 1 else "no difference that shows"
    bounds = "" if ci is None else f"  [{ci[0]:.3f}, {ci[1]:.3f}]"
    return (
        f"{found.ratio.value:.3f}{bounds} of the latency of {found.against}: {verdict}\n"
        f"p50 {found.p50:.3f} against {found.against_p50:.3f} ms, {found.pairs} pairs of blocks, {found.loads} loads"
    )


def accuracy_text(profile: Profile) -> str:
    found = profile.measured_accuracy
    assert found is not None
    text = f"{figures.accuracy(found.value, found.standard_error)} % of {found.count} images in {found.data}/"
    if found.skipped:
        text += f", {found.skipped} unreadable"
    if profile.accuracy is not None:
        error = max(found.standard_error, profile.accuracy_se or 0.0)
        far = "" if abs(found.value - profile.accuracy) <= FAR * error else ": another accuracy, or other images"
        text += f"\n{figures.accuracy(profile.accuracy, profile.accuracy_se)} % when it was exported{far}"
    return text


def _joules(energy: Interval) -> str:
    bounds = "" if energy.ci is None else f" [{energy.ci[0]:.2f}, {energy.ci[1]:.2f}]"
    return f"{energy.value:.2f} mJ{bounds}"


def _percentile(name: str, value: float, interval: tuple[float, float] | None) -> str:
    doubt = "" if interval is None else f"  [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{name} {value:.3f} ms{doubt}"
