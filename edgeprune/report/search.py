"""What `--max-drop` tried, as lines."""

from __future__ import annotations

from edgeprune.report.figures import points
from edgeprune.spec.result import Search


def trial_lines(search: Search) -> list[str]:
    return [
        f"trial --macs {trial.macs:g}: {points(trial.drop)} of validation accuracy"
        + ("" if trial.within else ", too much")
        for trial in search.trials
    ]
