"""Profiles as files: the newest under its name, all others kept."""

from __future__ import annotations

import json

import numpy as np

from edgeprune.measure.latency import Calls
from edgeprune.measure.written import write_profile
from edgeprune.report.compare import read_comparisons
from tests.report.conftest import profile

CALLS = Calls(np.array([5.0, 5.5, 6.0]), np.array([0.4, 0.3, 0.2]), 1, 50, True)


def dated(p50: float, date: str):
    return profile(p50).model_copy(update={"date": date})


def test_history_is_kept_and_never_overwritten(tmp_path):
    first = write_profile(dated(1.0, "2026-01-01T00:00:00+00:00"), tmp_path)
    write_profile(dated(2.0, "2026-01-01T00:00:00+00:00"), tmp_path)
    last = write_profile(dated(3.0, "2026-02-01T00:00:00+00:00"), tmp_path)
    assert first == last
    assert json.loads(last.read_text())["latency_ms"]["p50"] == 3.0
    kept = sorted((last.parent / "history").iterdir())
    assert [json.loads(path.read_text())["latency_ms"]["p50"] for path in kept] == [2.0, 1.0]
    assert [path.name for path in kept] == [
        f"{last.stem}-20260101T000000-2.json",
        f"{last.stem}-20260101T000000.json",
    ]


def test_calls_are_kept_one_by_one(tmp_path):
    path = write_profile(profile(1.0), tmp_path, CALLS)
    with np.load(path.with_suffix(".times.npz")) as arrays:
        np.testing.assert_allclose(arrays["start_s"], [0.0, 0.5, 1.0])
        np.testing.assert_allclose(arrays["ms"], [400, 300, 200], rtol=1e-6)


def test_a_report_over_a_folder_is_in_the_order_of_the_dates(tmp_path):
    for p50, date in (
        (1.0, "2026-01-03T00:00:00+00:00"),
        (2.0, "2026-01-01T00:00:00+00:00"),
        (4.0, "2026-01-02T00:00:00+00:00"),
    ):
        write_profile(dated(p50, date), tmp_path, CALLS)
    (comparison,) = read_comparisons([tmp_path])
    assert [row.latency_ms_p50 for row in comparison.rows] == [2.0, 4.0, 1.0]
    assert [row.speed_up for row in comparison.rows] == [1.0, 0.5, 2.0]
    assert comparison.rows[0].label == "net 2026-01-01 00:00"
