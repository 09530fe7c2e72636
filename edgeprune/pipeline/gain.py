"""Go or no-go: where the target's runtime is at hand, INT8 must be faster than float, or is reduced or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeprune.engine.ort import open_model
from edgeprune.measure.latency import measure_interleaved
from edgeprune.measure.match import mismatch
from edgeprune.measure.probe import probe
from edgeprune.model.batches import sample
from edgeprune.model.evaluate import accuracy
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.traced import Traced, save
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.precision import PRECISION, read_precision
from edgeprune.pipeline.ship import write_onnx
from edgeprune.pipeline.steps import NETWORK, Work, network, write_history
from edgeprune.quantization.units import leave, units
from edgeprune.spec.target import Target

SECONDS = 1.0
"""How long each network is timed, on top of the warm-up; 0: nothing is measured and nothing refused."""
CLEARLY = 1.03
"""INT8 that takes longer than float by this factor is no faster; less is the noise of a machine."""
CALLS = 30


def gain(work: Work, tuned: Stage, final: Stage) -> Stage:
    """The network that is worth shipping: the INT8 one, one with the layers that gain, or the float one."""
    recipe, target = work.recipe, work.target
    if recipe.precision == "fp32" or recipe.int8.anyway or _elsewhere(target) or not SECONDS:
        return final

    def make(folder: Path) -> None:
        x, _ = sample(work.data.train, work.data.preprocessing, 1, recipe.seed)
        image, found = x.numpy(), dict(read_precision(final))
        paths = {"float": folder / "float.onnx", "int8": folder / "int8.onnx"}
        write_onnx(network(tuned), paths["float"], target, False, x)
        chosen = network(final)
        write_onnx(chosen, paths["int8"], target, True, x)
        measured = _times(work, [*paths.values()], image)
        found |= {"float_ms": measured[0], "int8_ms": measured[1], "precision": "int8"}
        if measured[1] > CLEARLY * measured[0]:
            chosen, found = _reduced(work, chosen, network(tuned), paths, image, found)
        for path in paths.values():
            path.unlink()
        (folder / "reduced.onnx").unlink(missing_ok=True)
        (folder / PRECISION).write_text(json.dumps(found, indent=2), encoding="utf-8")
        save(chosen, folder / NETWORK)
        write_history(folder, accuracy(chosen.module, work.data.val, work.data.preprocessing, work.tick).value)

    host = probe()
    where = [host.processor, list(host.flags), host.cores]
    return work.run.stage("gain", where, [tuned, final], make, work.data.fingerprint)


def _elsewhere(target: Target) -> str | None:
    """Why this machine cannot tell whether INT8 pays on a target; another CPU's kernels say nothing of its own."""
    if target.runtime != "onnxruntime":
        return f"the engine is built on the device ({target.device}); compare INT8 with FP16 there"
    return mismatch(probe(), target)


def _reduced(
    work: Work, int8: Traced, tuned: Traced, paths: dict[str, Path], image: NDArray[np.float32], found: dict[str, Any]
) -> tuple[Traced, dict[str, Any]]:
    """Leave the layers in float that INT8 makes slower; the float network if that is no faster either."""
    runtime, path = work.target.runtime, paths["int8"].with_name("reduced.onnx")
    losing = _losing(paths, image, [*units(int8.module, runtime)])
    if losing and len(losing) < len(units(int8.module, runtime)):
        reduced, _ = leave(int8, losing, runtime)
        write_onnx(reduced, path, work.target, True, torch.from_numpy(image))
        measured = _times(work, [paths["float"], path], image)
        if measured[1] * CLEARLY < measured[0]:
            return reduced, found | {"slower": losing, "reduced_ms": measured[1]}
    return fold_batch_norm(tuned), found | {"precision": "fp32"}


def _times(work: Work, paths: Sequence[Path], image: NDArray[np.float32]) -> list[float]:
    measured = measure_interleaved([open_model(path) for path in paths], image, SECONDS, work.tick)
    return [latency.p50 for latency in measured]


def _losing(paths: dict[str, Path], image: NDArray[np.float32], names: Sequence[str]) -> list[str]:
    """The layers whose integer kernels take longer than their float ones, by the runtime's own profiler."""
    times = {
        kind: {node.name: node.ms for node in open_model(path).layer_times(image, CALLS)}
        for kind, path in paths.items()
    }
    both = [name for name in names if all(name in own for own in times.values())]
    return [name for name in both if times["int8"][name] > times["float"][name]]


def int8_notes(work: Work, final: Stage) -> list[str]:
    """What stayed in higher precision, and how INT8 fared against float."""
    found = read_precision(final)
    notes = []
    if "left" in found:
        names = ", ".join(found["left"]) or "no layer"
        reached = ""
        if found["reached"] is not None:
            drop = 100 * (found["reference"] - found["reached"])
            reached = f", for a drop of {drop:.2f} points of validation accuracy against the pruned float network"
        notes.append(f"in higher precision: {names}{reached}")
        if found["parted"]:
            notes.append(f"in float since their outputs are read in float: {', '.join(found['parted'])}")
    if "float_ms" in found:
        ratio = found["int8_ms"] / found["float_ms"]
        line = f"go or no-go: INT8 takes {ratio:.2f} of float's time here, measured in turn"
        if found["precision"] == "fp32":
            line += "; REFUSED: the float network ships, since INT8 is no faster (--int8-anyway ships it)"
        elif "slower" in found:
            left = ", ".join(found["slower"])
            line += (
                f"; with the layers in float that it makes slower {found['reduced_ms'] / found['float_ms']:.2f}: {left}"
            )
        notes.append(line)
    elif work.recipe.precision == "int8" and (reason := _elsewhere(work.target)):
        notes.append(f"go or no-go: not measured: {reason}")
    return notes
