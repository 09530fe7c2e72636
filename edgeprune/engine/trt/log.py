"""TensorRT's log: kept in a file, and in memory without its verbose part."""

from __future__ import annotations

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
            self.stream.write(f"[{severity}] {text}\n")
        if severity in KEPT:
            self.lines.append((severity, text))

    @property
    def fault(self) -> str | None:
        """The first error that it told: later ones follow from it."""
        return next((" ".join(text.split()) for severity, text in self.lines if severity in FAULTS), None)


def open_log(path: Path | None = None) -> BuildLog:
    return BuildLog(stream=None if path is None else path.open("w", encoding="utf-8"))


def logger_for(trt: Any, log: BuildLog) -> Any:
    """A TensorRT logger that writes into a log; it must outlive what is made with it."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            log.take(severity.name, msg)

    return Logger()
