"""What every test of the chain has: no timing, for networks on which INT8 gains nothing."""

from __future__ import annotations

import pytest

from edgeprune.pipeline import deliver, gain


@pytest.fixture(autouse=True)
def _untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "SECONDS", 0.1)
    monkeypatch.setattr(gain, "SECONDS", 0.0)
