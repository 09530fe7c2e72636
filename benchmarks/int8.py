"""INT8 on this CPU: edgeprune's, ONNX Runtime's, NVIDIA's, NNCF's and OpenVINO's, timed in turn in one run.

    pip install -e '.[host]' nncf openvino
    python -m venv MO && MO/bin/pip install 'nvidia-modelopt[onnx]' requests huggingface_hub
    OMP_NUM_THREADS=1 python benchmarks/int8.py --modelopt MO/bin/python --data CIFAR_FOLDER \
        --weights resnet20-cifar10-jpeg.safetensors [--quick] [--json FILE] [--runs FOLDER] [--only WORD]

The networks at 224 pixels have random weights, BatchNorm set by a batch, and are quantized without training by every
tool on the same images; agreement is that of the largest output with the float network's. `pruned` ones keep half of
the multiply-adds. ResNet-20 is trained, and its accuracy is that of the CIFAR-10 test images. One thread, batch 1;
every round times each tool's network in a random order, and a ratio is the median of the rounds' ratios.
Quantized files stay in FOLDER and are made once. NVIDIA's tool needs an interpreter of its own, since it brings
another ONNX Runtime. Its networks are made for TensorRT: how they run here is what its user meets on a CPU.
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from record import Show, arguments, finish, known_rows, save
from torch import nn

from edgeprune.api.cutting import prune
from edgeprune.exporting.lower import to_onnxruntime
from edgeprune.exporting.onnx import to_onnx
from edgeprune.linting.lint import lint
from edgeprune.model.batches import sample
from edgeprune.model.data import load_data
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.networks import NETWORKS
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.qat import Scheme, prepare
from edgeprune.quantization.refine import refine
from edgeprune.spec.recipe import Source
from edgeprune.spec.target import load_target

OPSET, SIDE, CLASSES = 18, 224, 1000
IMAGES, TESTED = 16, 64
"""For calibration and for agreement, at 224 pixels."""
OPENED, ROUNDS, CALLS = 6, 10, 3
TOOLS = ("fp32", "ort", "modelopt", "modelopt-fp32", "nncf", "openvino", "ours")


@dataclass(frozen=True)
class Case:
    """A network, its images for calibration and testing, and labels where it is trained."""

    name: str
    traced: Traced
    calibration: NDArray[np.float32]
    tested: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as class folders")
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-20's")
    parser.add_argument("--modelopt", type=Path, help="an interpreter that has NVIDIA's tool")
    parser.add_argument("--runs", type=Path, default=Path("runs/int8"), help="quantized files stay here")
    parser.add_argument("--only", default="", help="a word that the names must hold")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.runs.mkdir(parents=True, exist_ok=True)
    rows = known_rows(asked)
    for case in cases(asked):
        if any(row["network"] == case.name for row in rows):
            continue
        rows += measure(case, asked)
        if asked.json is not None and not asked.quick:
            save("int8", rows, [], asked.json)
    finish("int8", rows, [] if asked.quick or asked.only else shows(rows), asked.json)


def cases(asked: Namespace) -> Iterator[Case]:
    """The networks, each dense and with half of its multiply-adds, the trained one first."""
    data = load_data(Source(model="", data=str(asked.data)), None, 0)
    count = 500 if asked.quick else len(data.test)
    small, _ = sample(data.train, data.preprocessing, 512, 0)
    tested, labels = sample(data.test, data.preprocessing, count, 0)
    large = torch.nn.functional.interpolate(small[:IMAGES], SIDE, mode="bilinear")
    large_tested = torch.nn.functional.interpolate(tested[:TESTED], SIDE, mode="bilinear")
    nets: dict[str, Callable[[], nn.Module]] = {
        "resnet18": lambda: NETWORKS["resnet18"].build(CLASSES, 3),
        "mobilenet_v2": lambda: NETWORKS["mobilenet_v2"].build(CLASSES, 3),
        "vit_tiny": lambda: VisionTransformer(16, 12, 192, 3, CLASSES, 3),
        "resnet50": lambda: NETWORKS["resnet50"].build(CLASSES, 3),
    }
    if asked.only in "resnet20":
        net = NETWORKS["resnet20"].build(10, 3)
        load_weights(net, asked.weights, "resnet20")
        traced = trace(net.eval(), (3, 32, 32))
        yield Case("resnet20", traced, small.numpy(), tested.numpy(), labels.numpy())
    for name, build in nets.items():
        for form in ("dense", "pruned"):
            whole = f"{name} {form}"
            if asked.only not in whole or (asked.quick and (name not in ("resnet18", "vit_tiny") or form == "pruned")):
                continue
            torch.manual_seed(0)
            module = _settled(build(), large)
            if form == "pruned":
                module = prune(module, large[:2], macs=0.5, method="magnitude", allocation="scores")
                traced = module.traced
            else:
                traced = trace(module, (3, SIDE, SIDE))
            yield Case(whole, traced, large.numpy(), large_tested.numpy(), None)


def _settled(module: nn.Module, x: torch.Tensor) -> nn.Module:
    """BatchNorm's statistics from a batch; random networks have none that mean anything."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        module(x)
    return module.eval()


def measure(case: Case, asked: Namespace) -> list[dict[str, Any]]:
    """Quantize with every tool that is there, time them in turn, and compare."""
    folder = asked.runs / case.name.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    files = quantized(case, folder, asked)
    runners = {tool: _open(tool, path) for tool, path in files.items()}
    times = _timed(files, case.tested[:1], 4 if asked.quick else ROUNDS)
    float_classes = _classes(runners["fp32"], case.tested)
    rows = []
    for tool, run in runners.items():
        classes = _classes(run, case.tested)
        right = None if case.labels is None else float(np.mean(classes == case.labels))
        rows.append(
            {
                "network": case.name,
                "tool": tool,
                "p50 ms": 1e3 * float(np.median(times[tool])),
                "of fp32": _ratio(times[tool], times["fp32"]),
                "of ort": _ratio(times[tool], times["ort"]),
                "ours / it": _ratio(times["ours"], times[tool]),
                "INT8 share": _share(tool, files[tool]),
                "agreement": float(np.mean(classes == float_classes)),
                "accuracy": right,
                "images": len(classes),
            }
        )
        print(rows[-1], flush=True)
    return rows


def quantized(case: Case, folder: Path, asked: Namespace) -> dict[str, Path]:
    """Each tool's file, made where it is not there yet; tools that fail or are not there are left out, and said."""
    files = {"fp32": folder / "fp32.onnx"}
    images = folder / "images.npy"
    if not files["fp32"].is_file():
        np.save(images, case.calibration)
        onnx.save(to_onnx(fold_batch_norm(case.traced), OPSET), files["fp32"])
    for tool in TOOLS[1:]:
        path = folder / (f"{tool}.xml" if tool == "openvino" else f"{tool}.onnx")
        if not path.is_file():
            start = time.perf_counter()
            if tool == "ours":
                onnx.save(ours(case), path)
            elif not _by_peer(tool, files["fp32"], images, path, asked):
                continue
            print(f"{case.name}: {tool} took {time.perf_counter() - start:.0f} s", flush=True)
        files[tool] = path
    return files


def _by_peer(tool: str, model: Path, images: Path, path: Path, asked: Namespace) -> bool:
    python = asked.modelopt if tool.startswith("modelopt") else sys.executable
    if python is None:
        return False
    script = Path(__file__).with_name("int8_peers.py")
    done = subprocess.run([python, script, tool, model, images, path], check=False, capture_output=True, text=True)
    if done.returncode or not path.is_file():
        print(f"{tool} failed on {model}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return False
    return True


def ours(case: Case) -> onnx.ModelProto:
    """Without training, as `--qat-epochs 0` does it."""
    target = load_target("cpu-x86-vnni")
    scheme = Scheme(target.activations.value, target.runtime, target.weight_bits.value, ranges="mse")
    x = torch.from_numpy(case.calibration)
    ready = prepare(case.traced, scheme, x.split(16))
    refine(ready, x[:128], target.runtime, 0, True)
    return to_onnxruntime(to_onnx(freeze(ready), OPSET))


def _open(tool: str, path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    if tool == "openvino":
        import openvino as ov

        core = ov.Core()
        compiled = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"})
        request = compiled.create_infer_request()
        return lambda x: np.array(request.infer([x])[0])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _timed(files: dict[str, Path], x: NDArray[np.float32], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Seconds per call, `[OPENED * rounds]` per tool, in an order drawn anew for each round.

    Opened several times: where a session's memory happens to lie is worth a few per cent, and so is who ran before.
    """
    times: dict[str, list[float]] = {tool: [] for tool in files}
    generator = np.random.default_rng(0)
    for _ in range(OPENED):
        runners = {tool: _open(tool, files[tool]) for tool in generator.permutation([*files]).tolist()}
        for run in runners.values():
            for _ in range(5):
                run(x)
        for _ in range(rounds):
            for tool in generator.permutation([*files]).tolist():
                runners[tool](x)  # the caches are the tool's own again
                start = time.perf_counter()
                for _ in range(CALLS):
                    runners[tool](x)
                times[tool].append((time.perf_counter() - start) / CALLS)
    return {tool: np.array(own) for tool, own in times.items()}


def _ratio(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The median of the rounds' ratios: a slow moment hits both."""
    return float(np.median(one / other))


def _classes(run: Any, x: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.concatenate([run(x[i : i + 1]).argmax(-1) for i in range(len(x))])


def _share(tool: str, path: Path) -> float | None:
    if tool == "openvino":
        return None
    return lint(path, load_target("cpu-x86-vnni"), None).share


def shows(rows: list[dict[str, Any]]) -> list[Show]:
    """What the rows decide."""
    by = {(row["network"], row["tool"]): row for row in rows}
    networks = list(dict.fromkeys(row["network"] for row in rows))
    found = []
    for network in networks:
        own = by[network, "ours"]
        bars = {"ort": 1.0, "modelopt": 0.5, "modelopt-fp32": 0.5} | ({"fp32": 0.45} if "resnet" in network else {})
        for tool, bar in bars.items():
            if (network, tool) in by:
                ratio = by[network, tool]["ours / it"]
                found.append(Show(f"{network}: ours / {tool}", 2, ratio, f"<= {bar}", ratio <= bar))
        least = 0.9 if "vit" in network else 0.97
        found.append(Show(f"{network}: INT8 share", 1, own["INT8 share"], f">= {least}", own["INT8 share"] >= least))
    own, others = (
        by["resnet20", "ours"],
        [row for row in rows if row["network"] == "resnet20" and row["tool"] != "fp32"],
    )
    best = max(row["accuracy"] for row in others)
    error = (best * (1 - best) / own["images"]) ** 0.5
    found.append(
        Show(
            "resnet20: accuracy",
            2,
            own["accuracy"],
            f">= best {best:.4f} - {error:.4f}",
            own["accuracy"] >= best - error,
        )
    )
    return found


if __name__ == "__main__":
    main()
