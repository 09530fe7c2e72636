"""A result and a profile with figures that are easy to check by eye."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeprune.spec.profile import Profile
from edgeprune.spec.result import Result


def _stats(accuracy: float, macs: int, p50: float | None, int8: float | None) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "accuracy_se": 0.0027,
        "macs": macs,
        "params": 269_722,
        "onnx_bytes": 1_094_321,
        "latency_ms_p50": p50,
        "int8_macs_share": int8,
    }


@pytest.fixture
def result() -> Result:
    return Result.model_validate(
        {
            "model": "resnet20",
            "target": "cpu-x86-avx2",
            "method": "hap",
            "seed": 0,
            "dense": _stats(0.9231, 40_813_184, 0.829, None),
            "pruned": _stats(0.919, 20_000_000, 0.5, None),
            "final": _stats(0.9185, 20_000_000, 0.2, 0.998),
            "seconds": {"prune": 1.5},
            "notes": ["latency was measured on this machine"],
        }
    )


def profile(p50: float, name: str = "net", settled: bool = True, **machine: Any) -> Profile:
    """A profile of a p50; keywords replace fields of its machine."""
    facts = {
        "device": "x86_64 Linux",
        "processor": "A CPU",
        "cores": 4,
        "threads": 2,
        "memory_bytes": 2**30,
        "cpu_flags": ["avx2"],
        "governor": None,
        "matches_target": True,
        "mismatch": None,
    }
    return Profile.model_validate(
        {
            "date": "2026-01-01T00:00:00+00:00",
            "edgeprune_version": "0.1.0",
            "bundle_sha256": "0" * 64,
            "model_sha256": "1" * 64,
            "name": name,
            "target": "cpu-x86-avx2",
            "precision": "int8",
            "runtime": "ONNX Runtime 1.23.2 (CPU)",
            "versions": {},
            "machine": facts | machine,
            "golden": {"checked": 8, "worst": 0.002, "tolerance": 0.05, "same_class": 8},
            "latency_ms": {
                "p50": p50,
                "p90": 1.5 * p50,
                "p99": None,
                "p50_ci": (0.9 * p50, 1.1 * p50),
                "p90_ci": (1.4 * p50, 1.6 * p50),
                "p99_ci": None,
                "mean": p50,
                "minimum": 0.8 * p50,
                "count": 300,
                "warm_up": 50,
                "settled": settled,
                "batch": 1,
                "throughput_per_s": 1000 / p50,
            },
            "memory": {
                "model_bytes": 300_000,
                "peak_resident_bytes": 60_000_000,
                "added_resident_bytes": 5_000_000,
            },
            "power": {"measured": False, "reason": "no sensor"},
            "macs": 20_000_000,
            "params": 100_000,
            "int8_macs_share": 0.998,
            "accuracy": 0.9185,
            "accuracy_se": 0.0027,
            "recipe": {},
        }
    )


@pytest.fixture
def make_profile() -> Callable[..., Profile]:
    """Return the function that makes a profile of a p50; keywords replace fields of its machine."""
    return profile
