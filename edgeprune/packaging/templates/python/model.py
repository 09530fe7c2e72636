"""Run the bundle in this folder: python model.py IMAGE, or Model().classify(image). Needs numpy and one runtime.

Nothing is handed to the runtime before its sha256 was compared with the manifest's.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from engine import Engine
from images import network_input, read_image

HERE = Path(__file__).resolve().parent


class Refused(Exception):
    """A fault that the user can mend; one line: what is wrong, then what to do."""


@dataclass(frozen=True)
class Class:
    """One class of an answer; `score` as the network put it out, `probability` its softmax."""

    index: int
    label: str
    score: float
    probability: float


def checked(folder: Path, manifest_sha256: str | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a bundle once, and compare every byte; `manifest_sha256` pins the bundle, the sums alone show damage."""
    text = (folder / "manifest.json").read_bytes()
    found = hashlib.sha256(text).hexdigest()
    stated = (folder / "manifest.sha256").read_bytes()[:64].decode("ascii", "replace")
    if found != (manifest_sha256 or stated):
        raise Refused(f"{folder}: manifest.json does not match its sha256. Copy the bundle again.")
    manifest = json.loads(text)
    if manifest["schema"] != 1:
        raise Refused(f"{folder}: a bundle of format {manifest['schema']}. Take a newer model.py.")
    files = {name: (folder / Path(name).name).read_bytes() for name in manifest["files"]}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
            raise Refused(f"{folder}: {name} does not match its sha256. Copy the bundle again.")
    return manifest, files


class Model:
    """A bundle, checked and loaded."""

    def __init__(self, bundle: Path = HERE / "bundle", threads: int | None = None, manifest_sha256: str | None = None):
        self.manifest, files = checked(bundle, manifest_sha256)
        self.labels = files["labels.txt"].decode("utf-8").removesuffix("\n").split("\n")
        self._golden = files["golden.npz"]
        self._engine = Engine(self.manifest, files["model.onnx"], threads, bundle.parent)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Run preprocessed items, float32 [N, ...] to [N, ...]."""
        return self._engine.run(np.ascontiguousarray(x, np.float32))

    def classify(self, image: np.ndarray, top: int = 5) -> list[Class]:
        """Return the likeliest classes of an image, uint8 [height, width, 3 or 1], best first."""
        scores = self.run(network_input(image, self.manifest["preprocessing"])[None])[0]
        powers = np.exp(scores.astype(np.float64) - scores.max())
        best = np.argsort(-scores, kind="stable")[:top]
        return [Class(int(i), self.labels[i], float(scores[i]), float(powers[i] / powers.sum())) for i in best]

    def check_golden(self) -> float:
        """Return the worst relative distance from the outputs that the bundle expects; Refused beyond its tolerance."""
        with np.load(io.BytesIO(self._golden), allow_pickle=False) as arrays:
            inputs, expected = arrays["input"], arrays["output"]
        found = np.concatenate([self.run(item[None]) for item in inputs])
        apart = (found.astype(np.float64) - expected).reshape(len(expected), -1)
        norms = np.linalg.norm(expected.astype(np.float64).reshape(len(expected), -1), axis=1)
        worst = float((np.linalg.norm(apart, axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)).max())
        tolerance = self.manifest["golden"]["tolerance"]
        if not worst <= tolerance:  # written so that nan fails
            raise Refused(f"a relative error of {worst:.3g} on golden inputs, {tolerance:.3g} is allowed.")
        return worst


def main() -> None:
    """Classify the image that is named, and time the network."""
    if len(sys.argv) != 2:
        raise Refused("usage: python model.py IMAGE")
    start = time.perf_counter()
    model = Model()
    print(f"{model.manifest['name']}, loaded in {1000 * (time.perf_counter() - start):.1f} ms")
    print(f"golden inputs: worst relative error {model.check_golden():.3g}")
    image = read_image(Path(sys.argv[1]))
    for found in model.classify(image):
        print(f"{100 * found.probability:6.2f} %  {found.label} (class {found.index}, score {found.score:.6g})")
    x, taken = network_input(image, model.manifest["preprocessing"])[None], []
    for _ in range(50):
        start = time.perf_counter()
        model.run(x)
        taken.append(1000 * (time.perf_counter() - start))
    print(f"latency: p50 {np.median(taken[10:]):.3f} ms, 40 calls")


if __name__ == "__main__":
    try:
        main()
    except (Refused, OSError, ImportError, ValueError, TypeError, LookupError, AttributeError, BadZipFile) as fault:
        what = "" if isinstance(fault, (Refused, OSError, ImportError, ValueError)) else f"{type(fault).__name__}: "
        sys.exit(" ".join(f"model.py: {what}{fault}".split()))
