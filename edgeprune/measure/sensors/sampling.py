"""Readings along a run, by a thread that sleeps between them.

The thread holds the interpreter for some tens of microseconds at each reading, ten to fifty times a second: a call
that it delays is one in hundreds, which moves no percentile below the 99th.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from edgeprune.measure.clocks import Watch
from edgeprune.measure.sensors.sensor import Beside, Sensor, SensorLostError, Trace

WATCH_PERIOD_S = 1.0


@dataclass
class Sampler:
    """Reads a sensor, where there is one, and the machine's clocks and temperatures, until it is stopped."""

    sensor: Sensor | None
    watch: Watch
    times: list[float] = field(default_factory=list)
    readings: list[dict[str, float]] = field(default_factory=list)
    lost: str | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self.watch.start()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def stop(self) -> Trace | None:
        """End the readings; None where there is no sensor."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self.sensor is None:
            return None
        names = self.readings[0] if self.readings else {}
        rails = {name: np.array([reading[name] for reading in self.readings]) for name in names}
        return Trace(self.sensor.about, np.array(self.times), rails, self.lost)

    def _go(self) -> None:
        next_watch = 0.0
        while not self._stopped.is_set():
            now = time.perf_counter()
            if self.sensor is not None and self.lost is None:
                self._read(self.sensor)
            if now >= next_watch:
                next_watch = now + WATCH_PERIOD_S
                beside = self.sensor.beside() if self.sensor is not None and self.lost is None else Beside()
                self.watch.read(beside.clocks_mhz, beside.temperatures_c)
                self.watch.words.update(beside.slowed_by)
            period = WATCH_PERIOD_S if self.sensor is None else self.sensor.about.period_s
            self._stopped.wait(period)

    def _read(self, sensor: Sensor) -> None:
        begun = time.perf_counter()
        try:
            reading = sensor.read()
        except SensorLostError as fault:
            self.lost = str(fault)
            return
        self.times.append((begun + time.perf_counter()) / 2)
        self.readings.append(reading)
