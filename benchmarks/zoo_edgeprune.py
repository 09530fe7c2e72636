"""edgeprune on one network: export, cut to half the multiply-adds by magnitude, prove, write ONNX, run that."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
from zoo_networks import build

from edgeprune.compact.apply import Compacted, compact_soundly
from edgeprune.compact.check import in_precision
from edgeprune.errors import EdgepruneError
from edgeprune.exporting.check import infer, relative_l2
from edgeprune.exporting.onnx import to_onnx
from edgeprune.model.count import macs
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.groups import Group
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.budget import Limits, choose
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.methods import METHODS
from edgeprune.pruning.plan import Prunable, prunable
from edgeprune.spec.budget import Budget

if TYPE_CHECKING:
    from zoo_step import Log

HALF, OPSET = 0.5, 18
LIMITS = Limits(8, 0.95, ())


def measure(reference: str, log: Log) -> None:
    """Note what each step of pruning, as `edgeprune.prune` does it, found and cost."""
    module, shape = build(reference)
    log.note(shape=shape, params=sum(parameter.numel() for parameter in module.parameters()))
    with log.step("export"):
        traced = trace(module, shape)
    dense = macs(traced)
    log.note(nodes=len(traced.module.graph.nodes), dense_macs=dense)
    with log.step("grouping"):
        ground = prunable(traced)
    log.note(**_ground(traced, ground))
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    with log.step("compaction"):
        done = _compacted(traced, ground, x)
    log.note(
        float32=done.proof.float32,
        float64=done.proof.float64,
        macs=macs(done.traced) / dense,
        refused=len(done.refused),
        refusals=[f"{name}: {why}"[:200] for name, why in list(done.refused.items())[:3]],
    )
    with log.step("onnx"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(to_onnx(fold_batch_norm(done.traced), OPSET), path)
        log.note(onnx_bytes=path.stat().st_size)
        log.note(**_onnx_differences(done.traced, path, shape))


def _compacted(traced: Traced, ground: Prunable, x: torch.Tensor) -> Compacted:
    scores = METHODS["magnitude"](traced.module, ground.groups, None)

    def chosen(free: list[Group]) -> Cuts:
        whole = frozenset(group.name for group in ground.groups) - {group.name for group in free}

        def at(share: float) -> Cuts:
            return choose(ground.groups, scores, ground.cost, Budget(macs=share), LIMITS, whole)

        try:
            return at(HALF)
        except EdgepruneError as error:
            # Half cannot be reached: a user reads in the message what can, and asks for that.
            offered = re.search(r"Ask for --macs ([0-9.]+) or more", str(error))
            if offered is None or not HALF < float(offered[1]) < 1:
                raise
            return at(float(offered[1]))

    return compact_soundly(traced, ground.found, ground.groups, chosen, x)


def _ground(traced: Traced, ground: Prunable) -> dict[str, Any]:
    approximate = getattr(ground.found, "approximate", {})
    reasons = Counter(ground.found.frozen.values())
    return {
        "groups": len(ground.groups),
        "free": _share(traced, ground.groups),
        "approximate": len(approximate),
        "frozen": [f"{why} ({count} times)" for why, count in reasons.most_common(3)],
    }


def _share(traced: Traced, groups: list[Group]) -> float:
    """Share of the parameters that lie in a group along one axis at least."""
    parameters = dict(traced.module.named_parameters())
    whole = 0.0
    for name, parameter in parameters.items():
        left = [1.0] * parameter.dim()
        for group in groups:
            for (owner, axis), at in group.places.items():
                if owner == name:
                    left[axis] -= at.numel() / parameter.shape[axis]
        whole += parameter.numel() * math.prod(left)
    return 1 - whole / sum(parameter.numel() for parameter in parameters.values())


def _onnx_differences(thin: Traced, path: Path, shape: tuple[int, ...]) -> dict[str, float]:
    """Relative L2 of ONNX Runtime to torch in float64, for batches of 1 and 3, and of torch in float32 to the same."""
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        single = thin.module(x).numpy()
        exact = in_precision(torch.float64, thin.module)(x.double()).float().numpy()
    worst = max(
        float(relative_l2(infer(path, part.numpy(), True), exact[:size]).max()) for size, part in ((1, x[:1]), (3, x))
    )
    return {"onnx_l2": worst, "torch_l2": float(relative_l2(single, exact).max())}
