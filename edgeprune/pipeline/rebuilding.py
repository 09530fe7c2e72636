"""The rebuild stage: SNOWS or merged channels after a cut, before any training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgeprune.merging.channels import Merged, merge_channels
from edgeprune.model.batches import sample
from edgeprune.model.device import move
from edgeprune.model.traced import save
from edgeprune.pipeline.folder import Stage
from edgeprune.pipeline.ground import open_ground
from edgeprune.pipeline.held import MASKS, masks_of
from edgeprune.pipeline.steps import CPU, NETWORK, Work
from edgeprune.reconstruction.cascade import Walking
from edgeprune.reconstruction.channels import snows_on_channels
from edgeprune.reconstruction.newton import Settings
from edgeprune.reconstruction.snows import Rebuilt, Snows, snows
from edgeprune.spec.methods import MergeName, Rebuilding
from edgeprune.spec.recipe import Recipe

LOG, MERGED = "rebuilt.json", "merged.json"


def how(asked: Rebuilding) -> Snows:
    """A recipe's settings as SNOWS takes them."""
    return Snows(
        steps=None if asked.lookahead == "end" else asked.lookahead,
        warm=asked.warm,
        biases=asked.biases,
        passes=asked.passes,
        newton=Settings(kind=asked.matrix, iterations=asked.iterations),
        walking=Walking(asked.target == "network", asked.batch_size, asked.memory_mb),
    )


def rebuild(work: Work, dense: Stage, cut: Stage) -> Stage:
    """The network with its layers rebuilt, and what else the cut left; the cut itself where nothing is asked."""
    recipe = work.recipe
    if not recipe.rebuilds:
        return cut

    def make(folder: Path) -> None:
        images = recipe.camp_hive.images if recipe.method == "camp-hive" else recipe.snows.images
        x, _ = sample(work.data.train, work.data.preprocessing, images, recipe.seed)
        log: list[Rebuilt] = []
        teacher, masks, state = work.load(dense), masks_of(cut), folder / "state.pt"
        if masks is not None:
            student = work.load(dense)
            log = snows(student, teacher, masks.kept, x, how(recipe.snows), work.tick, state)
            shutil.copyfile(cut.path / MASKS, folder / MASKS)
        else:
            found = open_ground(teacher, recipe, work.target).found
            units = frozenset(json.loads((cut.path / "cuts.json").read_text(encoding="utf-8"))["units"])
            if recipe.merges:
                walking, merge = _walking(recipe), _merge(recipe)
                student, merged = merge_channels(teacher, found, units, x, walking, work.tick, merge)
                _write(folder / MERGED, merged)
            else:
                student, log = snows_on_channels(teacher, found, units, x, how(recipe.snows), work.tick, state)
        if log:
            _write(folder / LOG, log)
        shutil.copyfile(cut.path / "cuts.json", folder / "cuts.json")
        save(move(student, CPU), folder / NETWORK)

    # Whether BatchNorm is re-estimated afterwards is the next stage's matter.
    settings = [
        recipe.snows.model_dump(mode="json", exclude={"reestimate", "masks", "memory_mb"}),
        recipe.seed,
        [recipe.merges, _merge(recipe), _walking(recipe).batch_size, recipe.camp_hive.images],
    ]
    return work.run.stage("rebuild", settings, [dense, cut], make)


def _merge(recipe: Recipe) -> MergeName:
    return recipe.camp_hive.merge if recipe.method == "camp-hive" else "joint"


def _walking(recipe: Recipe) -> Walking:
    asked = recipe.camp_hive if recipe.method == "camp-hive" else recipe.snows
    return Walking(batch_size=asked.batch_size, memory_mb=asked.memory_mb)


def _write(path: Path, rows: Sequence[Rebuilt | Merged]) -> None:
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2), encoding="utf-8")


def note(stage: Stage) -> list[str]:
    """What became of the layers, in a line; nothing where none were rebuilt."""
    path, other = stage.path / LOG, stage.path / MERGED
    if other.is_file():
        return _merged(json.loads(other.read_text(encoding="utf-8")))
    if not path.is_file():
        return []
    rows = [Rebuilt(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    shares = sorted(row.best / row.masked for row in rows if row.masked > 0)
    middle = shares[len(shares) // 2] if shares else 1.0
    kept = sum(row.taken == "masked" for row in rows)
    left = f"; {kept} stayed as they were cut, since nothing better was found" if kept else ""
    layers = "1 layer" if len(rows) == 1 else f"{len(rows)} layers"
    return [
        f"SNOWS: {layers} rebuilt; on images held back the error ahead of a layer fell to a median of "
        f"{100 * middle:.1f} % of what the cut left{left}"
    ]


def _merged(rows: list[dict[str, float]]) -> list[str]:
    """How much of what layers read came back."""
    if not rows:
        return []
    cut, merged = (100 * sorted(row[way] for row in rows)[len(rows) // 2] for way in ("cut", "merged"))
    layers = "1 layer" if len(rows) == 1 else f"{len(rows)} layers"
    return [
        f"merged: of what {layers} read of the dense network's channels, on images held back, the cut left a median of "
        f"{cut:.1f} % out, the channels that stay, combined, {merged:.1f} %"
    ]
