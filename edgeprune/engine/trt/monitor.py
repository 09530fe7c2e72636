"""How far TensorRT is in building, where it tells (from 10.0 on)."""

from __future__ import annotations

from typing import Any

from edgeprune.progress import Tick


def monitor_for(trt: Any, tick: Tick) -> Any:
    """A progress monitor that ticks once per step of the outermost phases; None where TensorRT has none."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self.steps[phase_name] = num_steps
                tick(f"TensorRT: {phase_name}", 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.steps:
                tick(f"TensorRT: {phase_name}", step + 1, self.steps[phase_name])
            return True  # False would cancel the build

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self.steps:
                steps = self.steps.pop(phase_name)
                tick(f"TensorRT: {phase_name}", steps, steps)

    return Monitor()
