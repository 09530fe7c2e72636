"""Power: watts and joules that a sensor measured, or the reason why there are none; never a guess."""

from __future__ import annotations

from pydantic import Field, model_validator

from edgeprune.spec.strict import Strict


class Interval(Strict):
    """A value with its 95 % interval; None where the run was too short for one."""

    value: float
    ci: tuple[float, float] | None


class Power(Strict):
    """Watts and energy over the timed calls."""

    measured: bool
    reason: str | None = None
    """Why there is no figure, or none of some kind."""
    mean_w: float | None = None
    energy_per_inference_mj: float | None = None
    """Gross: everything that the sensor sees, per image."""
    sensor: str | None = None
    rails_included: list[str] = Field(default_factory=list)
    """Those whose sum is the total."""
    rails_w: dict[str, float] = Field(default_factory=dict)
    """Mean of every rail that was read, those of the total and the others."""
    gross_mj: Interval | None = None
    net_mj: Interval | None = None
    """Gross less what the idle machine takes meanwhile."""
    idle_w: float | None = None
    idle_s: float | None = None
    seconds: float | None = None
    samples: int | None = None
    sample_rate_hz: float | None = None

    @model_validator(mode="after")
    def _sound(self) -> Power:
        if self.measured and self.mean_w is None:
            raise ValueError("measured power needs mean_w")
        if not self.measured and not self.reason:
            raise ValueError("power that was not measured needs the reason")
        return self
