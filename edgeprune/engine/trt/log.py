"""TensorRT's log: kept in a file, and in memory without its verbose part."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

FAULTS = ("INTERNAL_ERROR", "ERROR")
KEPT = (*FAULTS, "WARNING", "INFO")


@dataclass
class BuildLog:
    """Lines in order, each with its severity's name."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    stream: TextIO | None = None

    def take(self, severity: str, text: str) -> None:
        if self.stream is not None:
            try:
                self.stream.write(f"[{severity}] {text}\n")
            except OSError as error:  # a full disk; what a logger raises, TensorRT cannot pass on
                with contextlib.suppress(OSError):
                    self.stream.close()
                self.stream = None
                self.lines.append(("WARNING", f"the log's file ends here ({error.strerror})"))
        if severity in KEPT:
            self.lines.append((severity, text))

    @property
    def fault(self) -> str | None:
        """The first error that it told: later ones follow from it."""
        return next(iter(self._faults()), None)

    @property
    def last_fault(self) -> str | None:
        """The latest error, which is that of a call that fails now."""
        return next(iter(self._faults()[::-1]), None)

    def _faults(self) -> list[str]:
        return [" ".join(text.split()) for severity, text in self.lines if severity in FAULTS]


def open_log(path: Path | None = None) -> BuildLog:
    """A log, also in a file if one is named: line by line, so that it says where a build was when TensorRT crashed."""
    return BuildLog(stream=None if path is None else path.open("w", buffering=1, encoding="utf-8"))


def logger_for(trt: Any, log: BuildLog) -> Any:
    """A TensorRT logger that writes into a log; it must outlive what is made with it."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            log.take(severity.name, msg)

    return Logger()
