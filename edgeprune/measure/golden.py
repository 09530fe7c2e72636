"""Whether a runtime gives the answers that the bundle expects, checked before any speed is measured."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import Bundle
from edgeprune.spec.profile import GoldenResult

BROKEN = (
    KeyError, ValueError, OSError, EOFError, RuntimeError, NotImplementedError, TypeError, MemoryError, struct.error,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What zipfile and numpy raise on damaged files."""


@dataclass(frozen=True)
class Golden:
    """Inputs after preprocessing, [N, ...], and the outputs expected for them."""

    input: NDArray[np.float32]
    output: NDArray[np.float32]


def load_golden(bundle: Bundle) -> Golden:
    """Read a bundle's golden inputs and outputs.

    Raises:
        EdgepruneError: they do not fit what the manifest says.
    """
    manifest = bundle.manifest
    count = manifest.golden.count
    try:
        with zipfile.ZipFile(bundle.golden) as archive:
            return Golden(
                _array(archive, "input.npy", (count, *manifest.input.shape)),
                _array(archive, "output.npy", (count, *manifest.output.shape)),
            )
    except BROKEN as error:
        raise EdgepruneError(f"{bundle.golden}: not golden arrays ({error}). Export the bundle again.") from None


def _array(archive: zipfile.ZipFile, name: str, expected: tuple[int, ...]) -> NDArray[np.float32]:
    """Read one array, whose header is compared with the manifest before room is made for what it promises."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{name} is of version {version[0]}.{version[1]}")
        shape, fortran, dtype = readers[version](stream)
        if shape != expected or fortran or dtype != np.dtype("<f4"):
            raise ValueError(f"shapes: {name} has {shape} of {dtype}, the manifest says {expected}")
        size = 4 * math.prod(expected)
        if size > info.file_size:
            raise ValueError(f"{name} is cut short")
        values = np.frombuffer(stream.read(size), "<f4")
        if stream.read(1):
            raise ValueError(f"{name} holds more than its array")
    return values.reshape(expected).astype(np.float32)


class Answering(Protocol):
    """A runner, as far as its answers are concerned."""

    @property
    def runtime(self) -> str: ...

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]: ...


def check_golden(bundle: Bundle, runner: Answering) -> GoldenResult:
    """Run the golden inputs one by one and compare.

    Raises:
        EdgepruneError: the worst relative distance is beyond the bundle's tolerance.
    """
    golden = load_golden(bundle)
    tolerance = bundle.manifest.golden.tolerance
    answers = np.concatenate([runner.run(golden.input[i : i + 1]) for i in range(len(golden.input))])
    distances = relative_distances(answers, golden.output)
    worst = float(distances.max())
    if not worst <= tolerance:  # written so that nan fails
        raise EdgepruneError(
            f"{bundle.path}: {runner.runtime} answers golden input {int(distances.argmax())} with a relative "
            f"error of {worst:.3g}, and {tolerance:.3g} is allowed. Update the runtime, or export again."
        )
    same = _classes(answers) == _classes(golden.output)
    return GoldenResult(checked=len(answers), worst=worst, tolerance=tolerance, same_class=int(same.sum()))


def relative_distances(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ||found - expected||_2 / ||expected||_2 for each item of a batch; inf where a shape differs."""
    if found.shape != expected.shape:
        return np.full(len(expected), np.inf)
    flat = expected.reshape(len(expected), -1).astype(np.float64)
    apart = np.linalg.norm(found.reshape(len(found), -1) - flat, axis=1)
    norms: NDArray[np.float64] = np.maximum(np.linalg.norm(flat, axis=1), np.finfo(np.float32).tiny)
    distances: NDArray[np.float64] = apart / norms
    return distances


def _classes(outputs: NDArray[np.float32]) -> NDArray[np.intp]:
    classes: NDArray[np.intp] = outputs.reshape(len(outputs), -1).argmax(axis=1)
    return classes
