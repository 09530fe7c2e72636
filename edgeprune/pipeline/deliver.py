"""The last stages: ONNX files, the figures of the test set and the runtime, the bundle."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from edgeprune.engine.ort import open_model as open_onnx
from edgeprune.exporting.coverage import int8_share
from edgeprune.exporting.lint import lint_tensorrt
from edgeprune.exporting.patterns import check_patterns
from edgeprune.exporting.write import Details, write_bundle
from edgeprune.measure.latency import measure_interleaved
from edgeprune.measure.match import host_target, mismatch
from edgeprune.measure.probe import probe
from edgeprune.model.batches import sample
from edgeprune.model.count import macs, params
from edgeprune.model.evaluate import Accuracy, accuracy
from edgeprune.model.layer_shapes import layer_shapes
from edgeprune.pipeline import cycling, rebuilding
from edgeprune.pipeline import notes as notes_on
from edgeprune.pipeline.folder import BUNDLE, RESULT, Stage
from edgeprune.pipeline.gain import int8_notes
from edgeprune.pipeline.held import masks_of
from edgeprune.pipeline.masking import notes as mask_notes
from edgeprune.pipeline.parity import check_parity
from edgeprune.pipeline.precision import precision_of
from edgeprune.pipeline.ship import dialect, write_onnx
from edgeprune.pipeline.steps import Work, network
from edgeprune.spec.result import Allocation, Result, Search, Spectrum, Stats
from edgeprune.spec.speeds import measured

SECONDS = 3.0
"""How long each network's latency is measured."""


@dataclass(frozen=True)
class Networks:
    """The stages that left the networks: dense, cut, fine-tuned after it, and the one that ships."""

    dense: Stage
    cut: Stage
    pruned: Stage
    final: Stage


def export(work: Work, stages: Networks) -> Stage:
    """Write the three networks as ONNX, the last in its target's dialect, and check each against torch."""
    opset = work.target.opset.value
    int8 = precision_of(work, stages.final) == "int8"

    def make(folder: Path) -> None:
        x, _ = sample(work.data.train, work.data.preprocessing, work.recipe.golden_images, work.recipe.seed)
        masks, patterns = masks_of(stages.cut), {}
        for done, (name, stage) in enumerate(_three(stages)):
            work.tick("exporting", done, 3)
            quantized = name == "final" and int8
            model = write_onnx(network(stage), folder / f"{name}.onnx", work.target, quantized, x)
            if masks is not None and name != "dense":
                found = check_patterns(model, masks.arrays(), masks.pattern)
                patterns[name] = {layer: asdict(row) for layer, row in found.items()}
        work.tick("exporting", 3, 3)
        if masks is not None:
            report = {**patterns, "ineligible": masks.ineligible}
            (folder / "patterns.json").write_text(json.dumps(report, indent=2), encoding="utf-8")

    return work.run.stage(
        "export",
        [opset, work.target.runtime, "int8" if int8 else "fp32", work.recipe.golden_images],
        [*_all(stages)],
        make,
    )


def judge(work: Work, stages: Networks, exported: Stage) -> Stage:
    """The figures: test accuracy (the only use of the test set), INT8 share, latency where the target is at hand."""
    # Where they were measured belongs to the figures: on another machine they are measured again.
    host = probe()
    where = [host.processor, list(host.flags), host.cores, platform.python_version()]

    def make(folder: Path) -> None:
        x = work.data.test.images.shape
        shape = (int(x[1]), int(x[2]), int(x[3]))
        dense, pruned = network(stages.dense), network(stages.pruned)
        accuracies = [
            accuracy(dense.module, work.data.test, work.data.preprocessing, work.tick),
            accuracy(pruned.module, work.data.test, work.data.preprocessing, work.tick),
            _shipped_accuracy(work, exported.path / "final.onnx"),
        ]
        latencies, notes = _latencies(work, exported.path)
        int8 = precision_of(work, stages.final) == "int8"
        shares, notes = _shares(work, exported.path, shape, notes, int8)
        if int8:
            notes += check_parity(work, network(stages.final), exported.path / "final.onnx")
        rows = {}
        # Folding and quantizers change no layer: the final network counts as the pruned one.
        for i, (name, weights) in enumerate((("dense", dense), ("pruned", pruned), ("final", pruned))):
            rows[name] = Stats(
                accuracy=accuracies[i].value,
                accuracy_se=accuracies[i].standard_error,
                macs=macs(weights),
                params=params(weights),
                onnx_bytes=(exported.path / f"{name}.onnx").stat().st_size,
                latency_ms_p50=latencies[i],
                int8_macs_share=shares[i],
            ).model_dump()
        (folder / "figures.json").write_text(json.dumps({"rows": rows, "notes": notes}, indent=2), encoding="utf-8")

    return work.run.stage("judge", where, [exported, *_all(stages)], make, work.data.fingerprint)


def _shipped_accuracy(work: Work, path: Path) -> Accuracy:
    """Accuracy of the file that ships, computed exactly: saturating kernels are another device's fault."""
    runner = open_onnx(path, exact=True, simulate=work.target.runtime == "tensorrt")
    return accuracy(runner.run, work.data.test, work.data.preprocessing, work.tick)


def _latencies(work: Work, folder: Path) -> tuple[list[float | None], list[str]]:
    if work.target.runtime != "onnxruntime":
        return [None] * 3, [
            f"no latency: the engine is built on the device ({work.target.device}); profile the bundle there"
        ]
    host = probe()
    architecture = work.target.architecture
    if architecture is not None and architecture.value != platform.machine():
        return [None] * 3, [f"no latency: this {platform.machine()} machine is no {work.target.device}"]
    notes = []
    different = mismatch(host, work.target)
    if different:
        notes.append(f"latency is of this {host.processor} ({host_target(host)}), no {work.target.name}: {different}")
    runners = [open_onnx(folder / f"{name}.onnx", _threads(work)) for name in ("dense", "pruned", "final")]
    x, _ = sample(work.data.train, work.data.preprocessing, 1, work.recipe.seed)
    timed = measure_interleaved(runners, x.numpy(), SECONDS, work.tick)
    threads = "1 thread" if runners[0].threads == 1 else f"{runners[0].threads} threads"
    notes.append(f"latency: ONNX Runtime, batch 1, {threads}, the three networks timed in turn")
    return [latency.p50 for latency in timed], notes


def _threads(work: Work) -> int | None:
    """Those that milliseconds were counted with, so that what was predicted can be compared; None: one per core."""
    recipe = work.recipe
    if recipe.budget.latency_ms is None:
        return None
    return measured(work.target, recipe.precision, recipe.latency_profile).threads


def _shares(
    work: Work, folder: Path, shape: tuple[int, ...], notes: list[str], int8: bool
) -> tuple[list[float | None], list[str]]:
    if not int8:
        return [0.0] * 3, notes
    if work.target.runtime != "onnxruntime":
        narrow = lint_tensorrt(
            onnx.load(folder / "final.onnx"), work.target.channel_multiple.value, work.target.opset.value
        )
        notes = [*notes, *(f"may fall out of INT8: {fault}" for fault in narrow)]
        return [0.0, 0.0, None], [*notes, "INT8 share: read from the engine, once the device has built it"]
    share = int8_share(folder / "final.onnx", shape)
    if share.float_nodes:
        notes = [*notes, f"in float: {', '.join(share.float_nodes[:8])}"]
    return [0.0, 0.0, share.share], notes


def bundle(
    work: Work,
    stages: Networks,
    exported: Stage,
    judged: Stage,
    seconds: dict[str, float],
    found: Search | None,
    spectrum: Spectrum | None,
    allocations: tuple[Allocation, ...] = (),
) -> Result:
    """Write RUN/bundle and RUN/result.json."""
    figures = json.loads((judged.path / "figures.json").read_text(encoding="utf-8"))
    recipe = work.recipe
    budget = notes_on.budget(work, stages.cut)
    masks = masks_of(stages.cut)
    if masks is None:
        cut = [*notes_on.refused(stages.cut), *notes_on.reached(work, budget), *notes_on.searched(stages.final, found)]
    else:
        cut = mask_notes(masks, figures["rows"]["dense"]["params"], work.target)
    met = notes_on.latency_met(budget, figures["rows"]["final"]["latency_ms_p50"])
    made_up = [*rebuilding.note(stages.cut), *cycling.note(stages.cut), *int8_notes(work, stages.final)]
    made_up += notes_on.allocated(recipe, allocations)
    notes = [*notes_on.skipped(work), *cut, *made_up, *figures["notes"], *met]
    if recipe.precision == "fp32":
        notes.append("precision fp32: the final network is the pruned one")
    result = Result.model_validate(
        {
            "schema": 1,
            "model": recipe.source.model,
            "target": work.target.name,
            "method": recipe.method,
            "pattern": recipe.pattern,
            "dense_layers": masks.ineligible if masks is not None else {},
            "seed": recipe.seed,
            "precision": precision_of(work, stages.final),
            **figures["rows"],
            "budget": budget,
            "search": found,
            "spectrum": spectrum,
            "allocations": allocations,
            "seconds": seconds,
            "notes": notes,
        }
    )
    x, _ = sample(work.data.train, work.data.preprocessing, recipe.golden_images, recipe.seed)

    details = Details(
        name=f"{Path(recipe.source.model.split(':')[0]).stem}-{work.target.name}",
        target=work.target.name,
        runtime=work.target.runtime,
        precision=result.precision,
        lowering=dialect(work.target, result.precision == "int8"),
        weight_bits=work.target.weight_bits.value,
        preprocessing=work.data.preprocessing,
        labels=work.data.classes,
        macs=result.final.macs,
        params=result.final.params,
        int8_macs_share=result.final.int8_macs_share,
        int8_macs_measured_with=None if result.final.int8_macs_share is None else f"ONNX Runtime, {probe().processor}",
        accuracy=result.final.accuracy,
        accuracy_se=result.final.accuracy_se,
        pattern=result.pattern,
        dense_layers=result.dense_layers,
        recipe=recipe.model_dump(mode="json", by_alias=True),
        layers=layer_shapes(network(stages.pruned), network(stages.dense)),
        predicted_latency_ms=budget["latency_ms"].reached if "latency_ms" in budget else None,
        predicted_from=budget["latency_ms"].source if "latency_ms" in budget else None,
    )
    write_bundle(work.run.path / BUNDLE, onnx.load(exported.path / "final.onnx"), details, x.numpy())
    text = result.model_dump_json(by_alias=True, indent=2) + "\n"
    work.run.publish(RESULT, text)
    return result


def _three(stages: Networks) -> Iterator[tuple[str, Stage]]:
    yield from (("dense", stages.dense), ("pruned", stages.pruned), ("final", stages.final))


def _all(stages: Networks) -> list[Stage]:
    return [stages.dense, stages.pruned, stages.final]
