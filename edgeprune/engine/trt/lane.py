"""One stream of calls: an execution context with its own buffers and CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgeprune.engine.trt.cuda import Cuda, Launch, Stream
from edgeprune.engine.trt.log import BuildLog
from edgeprune.errors import EdgepruneError


@dataclass(frozen=True)
class Ends:
    """An engine's one input and one output: names, shapes without the batch axis, and how many images fit."""

    input: str
    output: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    least: int
    most: int
    dynamic: bool = True
    """The engine was built for a range, and a context must be told how many images come."""

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a batch that the engine was not built for.

        Raises:
            EdgepruneError: the text says what fits.
        """
        if shape[1:] != self.input_shape:
            raise EdgepruneError(f"the engine takes images of shape {self.input_shape}, not {shape[1:]}.")
        if not self.least <= shape[0] <= self.most:
            fits = f"{self.least} to {self.most} images" if self.least < self.most else f"{self.most} image(s)"
            raise EdgepruneError(
                f"the engine was built for {fits} per call, not {shape[0]}. "
                f"Build it again with --shape-range {min(self.least, shape[0])}:{shape[0]}:{max(self.most, shape[0])}."
            )


def read_ends(trt: Any, engine: Any) -> Ends:
    """Look an engine's tensors over.

    Raises:
        EdgepruneError: it has not one float input and one float output.
    """
    names: dict[str, list[str]] = {"INPUT": [], "OUTPUT": []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        names[engine.get_tensor_mode(name).name].append(name)
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise EdgepruneError(f"tensor {name} of the engine is not float32. Export the bundle again.")
    if [len(found) for found in names.values()] != [1, 1]:
        raise EdgepruneError("the engine has not one input and one output. Export the bundle again.")
    (entry,), (exit_,) = names.values()
    shapes = [tuple(engine.get_tensor_shape(name)) for name in (entry, exit_)]
    for name, shape in zip((entry, exit_), shapes, strict=True):
        if not shape or any(length < 0 for length in shape[1:]):
            raise EdgepruneError(f"tensor {name} of the engine has shape {shape}; only its first axis may vary.")
    images = shapes[0][0]
    least, most = images, images
    if images < 0:
        least, _, most = (shape[0] for shape in engine.get_tensor_profile_shape(entry, 0))
    return Ends(entry, exit_, shapes[0][1:], shapes[1][1:], least, most, dynamic=images < 0)


@dataclass
class Lane:
    """Runs one batch at a time; several lanes run at the same time."""

    cuda: Cuda
    context: Any
    ends: Ends
    stream: Stream
    log: BuildLog
    """Where TensorRT tells why a call fails."""
    graphs: bool = True
    images: int = 0
    """Of the batch that the context is set to."""
    launch: Launch | None = None
    """Its graph; recorded anew for another number of images."""

    def __post_init__(self) -> None:
        single, most = np.dtype(np.float32), self.ends.most
        self.host_in = self.cuda.pinned((most, *self.ends.input_shape), single)
        self.host_out = self.cuda.pinned((most, *self.ends.output_shape), single)
        self.device_in = self.cuda.allocate(self.host_in.nbytes)
        self.device_out = self.cuda.allocate(self.host_out.nbytes)
        self.context.set_tensor_address(self.ends.input, self.device_in)
        self.context.set_tensor_address(self.ends.output, self.device_out)

    def prepare(self, images: int) -> Launch:
        """Set the context to a number of images, and return what runs it: a graph where one can be recorded.

        TensorRT allocates in the first call with a shape, which a graph cannot hold; so that call is made plainly.
        """
        if self.images != images:
            shape = (images, *self.ends.input_shape)
            if self.ends.dynamic and not self.context.set_input_shape(self.ends.input, shape):
                raise EdgepruneError(f"TensorRT refuses an input of shape {shape}. Build the engine for it.")
            self.images, self.launch = images, None
        if not self.graphs:
            return self.enqueue
        if self.launch is None:
            self.enqueue()
            self.cuda.wait(self.stream)
            self.launch = self._record()
        return self.launch

    def _record(self) -> Launch:
        try:
            return self.cuda.graph(self.stream, self.enqueue)
        except RuntimeError:  # layers that wait for the host cannot be recorded
            self.graphs = False
            return self.enqueue

    def enqueue(self) -> None:
        """Put one call into the stream.

        Raises:
            RuntimeError: TensorRT refuses.
        """
        if not self.context.execute_async_v3(self.stream.handle):
            raise RuntimeError(f"execute_async_v3 failed: {self.log.last_fault}")

    def begin(self, x: NDArray[np.float32]) -> None:
        """Put a batch into the stream: its copy, its call, and the copy of its answers."""
        launch = self.prepare(len(x))
        np.copyto(self.host_in[: len(x)], x)
        self.cuda.copy_in(self.device_in, self.host_in[: len(x)], self.stream)
        launch()
        self.cuda.copy_out(self.host_out[: len(x)], self.device_out, self.stream)

    def end(self) -> NDArray[np.float32]:
        """Wait for that batch, and return its answers."""
        self.cuda.wait(self.stream)
        return cast("NDArray[np.float32]", self.host_out[: self.images].copy())
