"""Trials: the allocations that a search tries, with what they are worth, within a number and a time.

Every one is written down when it is judged. A search follows from its seed and from what it is answered, so one that
was killed is run again from the start, and hears what is written down until it is where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeprune.allocation.bench import Judge, Verdict
from edgeprune.allocation.parts import Kept, Lot
from edgeprune.progress import Tick, silent
from edgeprune.spec.methods import Reward

Kind = Literal["base", "sample", "mean"]
"""The allocation that a search starts from; one that it drew; the middle of where it draws from."""
LOSS_SHARE, MOST_LOSS = 0.05, 5.0
"""The share of the loss in a reward, and the loss beyond which it no longer counts: accuracy alone is flat where almost
nothing is right."""


@dataclass(frozen=True)
class Trial:
    """One allocation: units kept of each part, what it was worth, and how long that took."""

    kind: Kind
    kept: Kept
    accuracy: float
    loss: float
    reward: float
    seconds: float


class Spent(Exception):
    """The trials, or the time, that a search may take are used up."""


def plain_reward(verdict: Verdict, sparsity: float) -> float:
    """Accuracy, minus a little of the loss: the budget holds in any case."""
    del sparsity
    return verdict.accuracy - LOSS_SHARE * min(verdict.loss, MOST_LOSS)


def printed_reward(verdict: Verdict, sparsity: float) -> float:
    """As printed: `alpha accuracy - beta sparsity`, of which the dense network has the most; both are 1 here."""
    return verdict.accuracy - sparsity


REWARDS: dict[Reward, Callable[[Verdict, float], float]] = {"accuracy": plain_reward, "literal": printed_reward}


@dataclass
class Trials:
    """The judge of a search, and its memory. `file`: where trials are written, and read again."""

    lot: Lot
    judge: Judge
    reward: Reward = "accuracy"
    most: int = 600
    seconds: float = float("inf")
    file: Path | None = None
    tick: Tick = silent
    done: list[Trial] = field(default_factory=list)
    known: dict[Kept, Trial] = field(default_factory=dict)
    outside: float = 0.0
    """Seconds that the search itself has taken."""
    _since: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.is_file():
            for row in _whole_lines(self.file):
                trial = Trial(**{**row, "kept": tuple(row["kept"])})
                self.known.setdefault(trial.kept, trial)

    @property
    def left(self) -> int:
        return self.most - len(self.done)

    @property
    def spent_seconds(self) -> float:
        """What the trials took, those of an earlier call too."""
        return sum(trial.seconds for trial in self.done) + self.outside

    def __call__(self, kind: Kind, many: Sequence[Kept]) -> list[float]:
        """The rewards of allocations, in their order; an allocation that was judged before costs nothing, and counts.

        Raises:
            Spent: there is no room for all of them, and those that there is room for are written down; or no time,
                but for the base.
        """
        self.outside += time.perf_counter() - self._since
        if kind != "base" and self.spent_seconds >= self.seconds:
            self._since = time.perf_counter()
            raise Spent
        room = list(many[: self.left])
        fresh = [kept for kept in dict.fromkeys(room) if kept not in self.known]
        begin = time.perf_counter()
        verdicts = self.judge(fresh)
        each = (time.perf_counter() - begin) / max(len(fresh), 1)
        for kept, verdict in zip(fresh, verdicts, strict=True):
            reward = REWARDS[self.reward](verdict, self.lot.sparsity(kept))
            self._know(Trial(kind, kept, verdict.accuracy, verdict.loss, reward, each))
        seen = {trial.kept for trial in self.done}
        for kept in room:
            trial = self.known[kept]
            again = 0.0 if kept in seen else trial.seconds
            self.done.append(Trial(kind, kept, trial.accuracy, trial.loss, trial.reward, again))
            seen.add(kept)
        self.tick("searching an allocation", len(self.done), self.most)
        self._since = time.perf_counter()
        if len(room) < len(many):
            raise Spent
        return [self.known[kept].reward for kept in many]

    def _know(self, trial: Trial) -> None:
        self.known[trial.kept] = trial
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(vars(trial)) + "\n")


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a file that a kill may have cut off in its last line."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
