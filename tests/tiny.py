"""A network and images so small that the whole chain takes seconds, and the command line to run on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE = 12
CLASSES = ("blue", "green", "red")
NET = """\
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16 * 12 * 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().flatten(1))


class Branching(Net):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 1000:
            x = x / 2
        return super().forward(x)


def build(num_classes: int = 3) -> nn.Module:
    return Net(num_classes)


def flat() -> nn.Module:
    return Flat()


def branching() -> nn.Module:
    return Branching(3)
"""

START = """\
import sys
from edgeprune.pipeline import deliver, gain
deliver.SECONDS, gain.SECONDS = 0.2, 0.0
from edgeprune.cli import main
main()
"""
"""The command line with its pause cut short, how long latency is timed, and without what that decides."""


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


def images(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return noise `[count, SIDE, SIDE, 3]` in which one colour is brighter, and which."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    pixels = generator.integers(0, 150, (count, SIDE, SIDE, 3))
    pixels[np.arange(count), :, :, 2 - labels] += 100
    return pixels.astype(np.uint8), labels


def write_net(folder: Path) -> None:
    (folder / "net.py").write_text(NET, encoding="utf-8")


def write_npz(path: Path) -> None:
    (x, y), (x_test, y_test) = images(150, 0), images(60, 1)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)


def write_folders(root: Path, classes: tuple[str, ...] = CLASSES) -> list[Path]:
    """Write 200 images into class folders of train/ and test/, and return the files."""
    from PIL import Image  # the device half has none, and its tests read this file too

    files = []
    for part, count, seed in (("train", 150, 0), ("test", 50, 1)):
        for number, (pixels, label) in enumerate(zip(*images(count, seed), strict=True)):
            if label < len(classes):
                file = root / part / classes[label] / f"{number:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
                files.append(file)
    return files


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, which hears Ctrl-C also where the tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def run(*arguments: str, cwd: Path) -> Done:
    """Run the command line in a process of its own."""
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate()
    return Done(process.returncode, out, err)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return time of change and content of every file below, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
