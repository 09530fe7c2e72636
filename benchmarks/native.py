"""The packages' programs on one bundle, C++ and Python in turn: outputs, latency, start-up, memory.

    python benchmarks/native.py --headers /usr/include/onnxruntime --json FILE
    python benchmarks/native.py --headers /usr/include/onnxruntime --quick

Both run the installed ONNX Runtime with one thread: the C++ program is built from what `edgeprune package --for cpp`
writes, with CMake and without sanitizers, the Python one is what `--for python` writes. --headers is the folder of
onnxruntime_cxx_api.h. Weights are random, which latency does not depend on. Two processes stay loaded and time a few
calls each in turn, so that a slow moment of the machine hits both; start-up is that of fresh processes, in turn too,
from their start to their first answer. --quick times fewer rounds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from record import Show, arguments, finish

import edgeprune
from edgeprune.model.networks import NETWORKS
from edgeprune.packaging.forms import Order, as_cpp, as_python
from edgeprune.spec.bundle import Bundle

HERE = Path(__file__).parent
TARGET = "cpu-x86-avx2"
NETS = {"resnet20": 32, "mobilenet_v2": 224}
"""And the side of their images: one whose calls are short, where overhead shows, and one of usual size."""
CLASSES, CALLS, ROUNDS, STARTS = 10, 4, 500, 15
PYTHON = """\
import sys, time
import numpy as np
from model import Model
model = Model(threads=1)
x = np.zeros((1, *model.manifest["input"]["shape"]), np.float32)
model.run(x).tofile(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    taken = []
    for _ in range(int(line)):
        start = time.perf_counter()
        model.run(x)
        taken.append(1000 * (time.perf_counter() - start))
    print(*taken, flush=True)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")), end="")
"""


@dataclass
class Program:
    """A loaded network in a process of its own."""

    process: subprocess.Popen[str]
    start_up_ms: float

    @classmethod
    def start(cls, command: list[str], folder: Path) -> Program:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            sys.exit(f"{command[0]}: ended before it was loaded")
        return cls(process, 1000 * (time.perf_counter() - began))

    def time_calls(self, count: int) -> list[float]:
        """Milliseconds of each call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(count, file=self.process.stdin, flush=True)
        return [float(word) for word in self.process.stdout.readline().split()]

    def end(self) -> float:
        """End it, and return the most memory that it held, in MB."""
        said, _ = self.process.communicate()
        return int(said.split()[1]) * 1024 / 1e6


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--headers", type=Path, default=Path("/usr/include/onnxruntime"), help="of ONNX Runtime")
    asked = parser.parse_args()
    if not (asked.headers / "onnxruntime_cxx_api.h").is_file():
        parser.error(f"{asked.headers} holds no onnxruntime_cxx_api.h. Install ONNX Runtime's headers, give --headers.")
    rows: list[dict[str, Any]] = []
    shows: list[Show] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETS:
            measure(name, Path(folder) / name, asked, rows, shows)
    finish("C++ and Python", rows, shows, asked.json)


def measure(name: str, folder: Path, asked: Namespace, rows: list[dict[str, Any]], shows: list[Show]) -> None:
    order = Order(bundle_of(name, folder / "bundle"), 1)
    as_python(order, folder / "python")
    as_cpp(order, folder / "cpp")
    commands = {
        "C++": [str(build(folder, asked.headers)), "bundle", "C++.out"],
        "Python": [sys.executable, "-c", PYTHON, "Python.out"],
    }
    places = {"C++": folder / "cpp", "Python": folder / "python"}
    starts, memory, calls = ({kind: [] for kind in commands} for _ in range(3))
    for number in range(4 if asked.quick else STARTS):
        for kind in in_turn(commands, number):
            program = Program.start(commands[kind], places[kind])
            starts[kind].append(program.start_up_ms)
            memory[kind].append(program.end())
    outputs = {kind: (places[kind] / f"{kind}.out").read_bytes() for kind in commands}
    programs = {kind: Program.start(commands[kind], places[kind]) for kind in commands}
    for program in programs.values():
        program.time_calls(5 * CALLS)  # to settle
    for number in range(20 if asked.quick else ROUNDS):
        for kind in in_turn(commands, number):
            calls[kind].append(programs[kind].time_calls(CALLS))
    for program in programs.values():
        program.end()
    for kind in commands:
        every = np.concatenate(calls[kind])
        rows.append(
            {
                "network": name,
                "program": kind,
                "p50 ms": float(np.median(every)),
                "p90 ms": float(np.quantile(every, 0.9)),
                "calls": len(every),
                "start-up ms": statistics.median(starts[kind]),
                "peak MB": statistics.median(memory[kind]),
            }
        )
    ratio = rows[-2]["p50 ms"] / rows[-1]["p50 ms"]
    rows[-2]["p50 / Python's"] = ratio
    rows[-2]["of the rounds, 90 %"] = "{:.3f} to {:.3f}".format(*spread(calls["C++"], calls["Python"]))
    same = outputs["C++"] == outputs["Python"]
    shows.append(Show("native", 2, "equal" if same else "different", f"{name}: outputs equal bit for bit", same))
    shows.append(Show("native", 4, ratio, f"{name}: C++ p50 at most Python's", ratio <= 1))


def in_turn(commands: dict[str, list[str]], number: int) -> list[str]:
    """Who goes first changes from round to round."""
    return list(commands) if number % 2 else list(commands)[::-1]


def spread(ours: list[list[float]], theirs: list[list[float]]) -> tuple[float, float]:
    """Between what the ratio of medians lies in nine of ten rounds."""
    ratios = [statistics.median(a) / statistics.median(b) for a, b in zip(ours, theirs, strict=True)]
    low, high = np.quantile(ratios, [0.05, 0.95])
    return float(low), float(high)


def bundle_of(name: str, folder: Path) -> Bundle:
    """An INT8 bundle of a network with random weights."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, NETS[name], NETS[name])
    int8 = edgeprune.quantize(NETWORKS[name].build(CLASSES, 3).eval(), images[:1], [images], target=TARGET)
    labels = [str(number) for number in range(CLASSES)]
    return edgeprune.export(int8.eval(), images, folder, target=TARGET, labels=labels, mean=(0.5,) * 3, std=(0.25,) * 3)


def build(folder: Path, headers: Path) -> Path:
    """Build the loader as its README says, and the program of this benchmark with it."""
    root, package = folder / "onnxruntime", folder / "cpp"
    (root / "lib").mkdir(parents=True)
    (root / "include").symlink_to(headers.resolve())
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    for link in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (root / "lib" / link).symlink_to(library)
    out, program = package / "build", folder / "native_timer"
    given = ["-DCMAKE_BUILD_TYPE=Release", f"-DONNXRUNTIME_ROOT={root}", "-DEDGEPRUNE_EXAMPLE=OFF"]
    run("cmake", "-S", package, "-B", out, *given)
    run("cmake", "--build", out)
    libraries = [out / "libedgeprune.a", root / "lib/libonnxruntime.so", f"-Wl,-rpath,{root / 'lib'}", "-pthread"]
    run("c++", "-std=c++17", "-O2", "-I", package / "include", HERE / "native_timer.cpp", "-o", program, *libraries)
    return program


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
