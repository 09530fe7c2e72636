"""What is needed of CUDA: allocate, copy in, copy out, stream, event, graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Launch = Callable[[], None]


@dataclass(frozen=True)
class Stream:
    """Work in order. `handle` is the driver's, which TensorRT takes; `own` the package's object."""

    handle: int
    own: Any


class Cuda(Protocol):
    """One device. Addresses are integers; host arrays must be contiguous, and pinned for copies that overlap."""

    @property
    def package(self) -> str: ...

    def allocate(self, count: int) -> int:
        """Bytes on the device; freed by `close`."""

    def pinned(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A page-locked array of the host."""

    def copy_in(self, address: int, array: NDArray[Any], stream: Stream) -> None: ...

    def copy_out(self, array: NDArray[Any], address: int, stream: Stream) -> None: ...

    def stream(self) -> Stream: ...

    def wait(self, stream: Stream) -> None:
        """Until the stream has done all its work."""

    def event(self) -> Any: ...

    def record(self, event: Any, stream: Stream) -> None: ...

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Between two recorded events that have passed."""

    def graph(self, stream: Stream, work: Callable[[], None]) -> Launch:
        """Record what `work` puts into the stream; the result launches it there."""

    def current(self) -> AbstractContextManager[None]:
        """Make the device this thread's."""

    def close(self) -> None: ...
