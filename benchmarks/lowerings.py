"""What the lowerings of one network keep: every code, and every layer in INT8.

    python benchmarks/lowerings.py --data CIFAR_FOLDER --weights resnet20-cifar10-jpeg.safetensors
        [--quick] [--json FILE]

ResNet-20 is trained; the others have random weights, BatchNorm set by a batch, and images of 64 pixels. All are
quantized without training.

Rows `codes`: the network is quantized symmetrically, as TensorRT wants it, and lowered for ONNX Runtime with VNNI. Its
codes are compared on 1,000 test images, a third of them with four times the contrast, so that activations saturate;
`differing`: in float, node by node; `in kernels`: the lowered file in ONNX Runtime's integer kernels, whose sums do not
round, so that a value half-way between two codes may become the other one.

Rows `lint`: the same network made for each kind of target, and what the lint says of the file. TensorRT and ARM are
judged by their documented rules, x86 by the graph that the installed ONNX Runtime makes. `--quick`: 32 images.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from record import Show, arguments, finish, known_rows, save
from torch import Tensor, nn

from edgeprune.exporting.lower import to_onnxruntime, to_tensorrt
from edgeprune.exporting.onnx import to_onnx
from edgeprune.exporting.parity import compare_codes
from edgeprune.linting.lint import lint
from edgeprune.model.batches import sample
from edgeprune.model.data import load_data
from edgeprune.model.networks import NETWORKS
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.place import Runtime
from edgeprune.quantization.qat import Scheme, prepare
from edgeprune.spec.recipe import Source
from edgeprune.spec.target import load_target

TARGETS = ("jetson-orin-nano", "cpu-x86-vnni", "cpu-x86-avx2", "cpu-arm64")
COMPARED = ("resnet20", "resnet18", "mobilenet_v2", "vit_tiny")
PLACED: tuple[Runtime, ...] = ("onnxruntime", "tensorrt")
IMAGES, CALIBRATION, SIDE, CLASSES, OPSET = 1000, 64, 64, 100, 18
CONTRAST = 4.0


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as class folders")
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-20's")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = known_rows(asked)
    for name, traced, calibration, tested in networks(asked):
        if any(row["network"] == name for row in rows):
            continue
        found = [_linted(name, traced, calibration, target) for target in TARGETS]
        if name in COMPARED:
            found += [_compared(name, traced, calibration, tested, placed) for placed in PLACED]
        print(*found, sep="\n", flush=True)
        rows += found
        if asked.json is not None and not asked.quick:
            save("lowerings", rows, [], asked.json)
    finish("lowerings", rows, shows(rows), asked.json)


def networks(asked: Namespace) -> Iterator[tuple[str, Traced, Tensor, Tensor]]:
    """Each with its images for calibration and testing."""
    data = load_data(Source(model="", data=str(asked.data)), None, 0)
    small, _ = sample(data.train, data.preprocessing, CALIBRATION, 0)
    tested, _ = sample(data.test, data.preprocessing, 32 if asked.quick else IMAGES, 0)
    tested[::3] *= CONTRAST
    net = NETWORKS["resnet20"].build(10, 3)
    load_weights(net, asked.weights, "resnet20")
    yield "resnet20", trace(net.eval(), (3, 32, 32)), small, tested
    large, large_tested = (torch.nn.functional.interpolate(x, SIDE, mode="bilinear") for x in (small, tested))
    for name in ("resnet18", "mobilenet_v2", "vit_tiny", "resnet50"):
        torch.manual_seed(0)
        if name == "vit_tiny":
            module: nn.Module = VisionTransformer(8, 12, 192, 3, CLASSES, 3, image_size=SIDE)
        else:
            module = NETWORKS[name].build(CLASSES, 3)
        yield name, trace(_settled(module, large), (3, SIDE, SIDE)), large, large_tested


def _settled(module: nn.Module, x: Tensor) -> nn.Module:
    """BatchNorm's statistics from a batch; random networks have none that mean anything."""
    for norm in [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]:
        norm.momentum = 1.0
    module.train()
    with torch.no_grad():
        module(x)
    return module.eval()


def _compared(name: str, traced: Traced, calibration: Tensor, tested: Tensor, placed: Runtime) -> dict[str, Any]:
    symmetric = to_onnx(freeze(prepare(traced, Scheme("signed", placed, 8), calibration.split(32))), OPSET)
    lowered, x = to_onnxruntime(symmetric), tested.numpy()
    simulated, kernels = (compare_codes(symmetric, lowered, x, kernels=kernels) for kernels in (False, True))
    return {
        "network": name,
        "what": "codes",
        "placed for": placed,
        "images": len(x),
        "tensors": simulated.tensors,
        "compared": simulated.compared,
        "saturated": simulated.saturated,
        "differing": simulated.differing,
        "in kernels": kernels.differing,
        "of them": kernels.differing / kernels.compared,
    }


def _linted(name: str, traced: Traced, calibration: Tensor, target_name: str) -> dict[str, Any]:
    target = load_target(target_name)
    model = to_onnx(freeze(prepare(traced, Scheme.of(target), calibration.split(32))), target.opset.value)
    model = (to_tensorrt if target.runtime == "tensorrt" else to_onnxruntime)(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        found = lint(path, target)
    whys = {verdict.layer: verdict.why for verdict in found.verdicts if not verdict.int8}
    return {
        "network": name,
        "what": "lint",
        "target": target_name,
        "clean": found.clean,
        "INT8 share": found.share,
        "layers": len(found.verdicts),
        "in float": len(whys),
        "faults": len(found.faults),
        "said": {"float": whys, "faults": list(found.faults), "notes": list(found.notes), "by": found.read_from},
    }


def shows(rows: list[dict[str, Any]]) -> list[Show]:
    """What the rows decide."""
    codes = [row for row in rows if row["what"] == "codes"]
    linted = [row for row in rows if row["what"] == "lint"]
    differing, saturated = (sum(row[of] for row in codes) for of in ("differing", "saturated"))
    unclean = [f"{row['network']} for {row['target']}" for row in linted if not row["clean"]]
    return [
        Show("INT8", 1, ", ".join(unclean) or "all clean", "all four lowerings linted clean", not unclean),
        Show("INT8", 3, differing, "0 codes that differ", differing == 0),
        Show("INT8", 3, saturated, "saturating activations among them", saturated > 0),
    ]


if __name__ == "__main__":
    main()
