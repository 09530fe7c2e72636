"""Whether a runtime gives the answers that the bundle expects, checked before any speed is measured."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import Bundle
from edgeprune.spec.profile import GoldenResult


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
    try:
        with np.load(bundle.golden, allow_pickle=False) as arrays:
            golden = Golden(arrays["input"], arrays["output"])
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise EdgepruneError(f"{bundle.golden}: not golden arrays ({error}). Export the bundle again.") from None
    expected = [(manifest.golden.count, *shape) for shape in (manifest.input.shape, manifest.output.shape)]
    if [golden.input.shape, golden.output.shape] != expected or manifest.golden.count < 1:
        raise EdgepruneError(
            f"{bundle.golden}: shapes {golden.input.shape} and {golden.output.shape}, "
            f"the manifest says {expected[0]} and {expected[1]}. Export the bundle again."
        )
    return golden


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
