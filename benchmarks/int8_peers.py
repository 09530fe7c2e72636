"""Other tools' post-training quantization of an ONNX file, each in the interpreter that has it.

    python benchmarks/int8_peers.py TOOL MODEL.onnx IMAGES.npy OUTPUT

TOOL: ort, modelopt, modelopt-fp32, nncf (ONNX) or openvino (NNCF on OpenVINO's own form; OUTPUT is an .xml).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def ort(model: Path, images: Path, output: Path) -> None:
    """As ONNX Runtime's "Quantize ONNX models" advises: pre-processed, Q/DQ, per channel, U8S8."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = _rows(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self.rows, None)
            return None if row is None else {"input": row}

    ready = output.with_suffix(".ready")
    quant_pre_process(str(model), str(ready))
    quantize_static(
        str(ready),
        str(output),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    ready.unlink()


def modelopt(model: Path, images: Path, output: Path, *more: str) -> None:
    """NVIDIA Model Optimizer's command with its defaults, calibrated on the CPU."""
    command = [sys.executable, "-m", "modelopt.onnx.quantization", "--onnx_path", str(model), "--quantize_mode=int8"]
    command += ["--calibration_data", str(images), "--calibration_eps", "cpu", "--output_path", str(output), *more]
    subprocess.run(command, check=True)


def nncf(model: Path, images: Path, output: Path) -> None:
    import nncf as tool
    import onnx

    data = tool.Dataset(list(_rows(images)), lambda row: {"input": row})
    quantized = tool.quantize(onnx.load(model), data, subset_size=len(np.load(images)))
    onnx.save(quantized, output)


def openvino(model: Path, images: Path, output: Path) -> None:
    import nncf as tool
    import openvino as ov

    data = tool.Dataset(list(_rows(images)), lambda row: row)
    quantized = tool.quantize(ov.convert_model(model), data, subset_size=len(np.load(images)))
    ov.save_model(quantized, output)


def _rows(images: Path) -> Iterator[np.ndarray]:
    x = np.load(images)
    yield from (x[i : i + 1] for i in range(len(x)))


TOOLS = {
    "ort": ort,
    "modelopt": modelopt,
    "modelopt-fp32": lambda *paths: modelopt(*paths, "--high_precision_dtype=fp32"),
    "nncf": nncf,
    "openvino": openvino,
}

if __name__ == "__main__":
    TOOLS[sys.argv[1]](*(Path(argument) for argument in sys.argv[2:5]))
