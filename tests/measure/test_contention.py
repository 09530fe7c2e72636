"""How long the threads waited, by the kernel's own count of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune.measure import contention
from edgeprune.measure.contention import waited_s, watch_contention


def lay(root: Path, *waited_ns: int) -> Path:
    for thread, waited in enumerate(waited_ns):
        file = root / f"proc/self/task/{thread}/schedstat"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"900000000 {waited} 17\n", encoding="utf-8")
    return root


def test_the_share_is_of_each_thread_s_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 104.0, 104.0])
    monkeypatch.setattr(contention, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    begun = watch_contention(lay(tmp_path, 1_000_000_000, 500_000_000))
    assert waited_s(tmp_path) == 1.5
    lay(tmp_path, 2_000_000_000, 1_100_000_000)  # 1.6 s more in 4 s
    assert begun.share(1) == pytest.approx(0.4)
    assert begun.share(2) == pytest.approx(0.2)


def test_a_kernel_that_does_not_count(tmp_path: Path) -> None:
    assert waited_s(tmp_path) is None
    assert watch_contention(tmp_path).share(1) is None


def test_this_machine_counts() -> None:
    found = watch_contention().share(1)
    assert found is None or 0 <= found <= 1
