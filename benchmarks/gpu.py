"""What a CUDA device is for: curvature and pruning at the papers' sizes and settings, and TensorRT engines.

    python benchmarks/gpu.py curvature [--minutes 3] [--quick] [--json FILE]
    python benchmarks/gpu.py snows [--quick] [--json FILE]
    python benchmarks/gpu.py methods --data CIFAR_FOLDER --weights FILE [--model resnet20] [--jobs 4] [...]
    python benchmarks/gpu.py trt-export --bundles FOLDER [--networks resnet50,vit_tiny] [--quick]
    python benchmarks/gpu.py trt --bundles FOLDER [--minutes 9] [--quick] [--json FILE]

The first three run on the CPU too, where --quick takes small batches and few probes. trt-export makes the bundles on
any machine with the compressing half; trt needs TensorRT, pycuda or cuda-bindings, and the device half only. It begins
no engine after --minutes, writes the record after each, and goes on from the record and the engines that are there.
"""

from __future__ import annotations

from pathlib import Path

from record import arguments, finish

PARTS = ("curvature", "snows", "methods", "trt-export", "trt")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, help="CIFAR-10 as class folders")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--bundles", type=Path, help="where trt-export writes and trt reads")
    parser.add_argument("--networks", default="", help="of trt-export, joined by commas; all by default")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="trt and curvature begin nothing after")
    parser.add_argument("--jobs", type=int, default=1, help="methods at a time")
    asked = parser.parse_args()
    if asked.part == "methods" and not (asked.data and asked.weights):
        parser.error("methods needs --data and --weights")
    if asked.part.startswith("trt") and asked.bundles is None:
        parser.error("trt and trt-export need --bundles")
    shows = []
    if asked.part == "trt":
        import gpu_trt  # without torch: a device has none

        rows, shows = gpu_trt.engines(asked)
    elif asked.part == "trt-export":
        import gpu_trt_export

        rows = gpu_trt_export.write(asked.bundles, asked.networks, asked.quick)
    else:
        import gpu_host

        if asked.part == "curvature":
            rows, shows = gpu_host.curvature(asked)
        else:
            rows = gpu_host.methods(asked) if asked.part == "methods" else gpu_host.rebuilding(asked.quick)
    finish(f"gpu: {asked.part}", rows, shows, asked.json)


if __name__ == "__main__":
    main()
