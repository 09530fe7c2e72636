"""Model repositories of the Triton Inference Server: config.pbtxt, versions and labels.

One repository per runtime, because a server loads every model of its repository and does not start where one has no
plan yet. Fields: model_config.proto of triton-inference-server/common; names of platforms: the server's documentation,
"Model Configuration". Preprocessing is the client's: Triton takes tensors.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgeprune.packaging.contents import plain_name
from edgeprune.spec.bundle import LABELS, MODEL, Bundle, Tensor

VERSION = "1"


def lay_out(bundle: Bundle, batch: int, folder: Path) -> None:
    """Write `onnxruntime/NAME/` and, for a bundle made for TensorRT, `tensorrt/NAME/` (the plan is built there)."""
    _repository(bundle, batch, folder / "onnxruntime", "onnxruntime_onnx")
    shutil.copyfile(bundle.model, folder / "onnxruntime" / plain_name(bundle.manifest.name) / VERSION / MODEL)
    if bundle.manifest.runtime == "tensorrt":
        _repository(bundle, batch, folder / "tensorrt", "tensorrt_plan")
        # A folder that holds nothing is in no archive.
        readme = folder / "tensorrt" / plain_name(bundle.manifest.name) / VERSION / "README.txt"
        readme.write_text("model.plan belongs here: build_engine.sh makes it on the server.\n", encoding="utf-8")


def _repository(bundle: Bundle, batch: int, repository: Path, platform: str) -> None:
    model = repository / plain_name(bundle.manifest.name)
    (model / VERSION).mkdir(parents=True)
    (model / "config.pbtxt").write_text(config(bundle, batch, platform), encoding="utf-8")
    if _classifies(bundle):
        shutil.copyfile(bundle.path / LABELS, model / LABELS)


def config(bundle: Bundle, batch: int, platform: str) -> str:
    """The text of config.pbtxt."""
    manifest = bundle.manifest
    labels = f'    label_filename: "{LABELS}"\n' if _classifies(bundle) else ""
    kind = "KIND_GPU" if manifest.runtime == "tensorrt" else "KIND_CPU"
    lines = [
        f"name: {_quoted(plain_name(bundle.manifest.name))}",
        f'platform: "{platform}"',
        f"max_batch_size: {batch}",
        f"input [\n  {{\n{_tensor(manifest.input)}  }}\n]",
        f"output [\n  {{\n{_tensor(manifest.output)}{labels}  }}\n]",
        f"instance_group [ {{ kind: {kind} count: 1 }} ]",
        "version_policy { latest { num_versions: 1 } }",
    ]
    if batch > 1:
        lines.append("dynamic_batching { }")
    if manifest.runtime == "tensorrt" and platform == "onnxruntime_onnx":
        # ONNX Runtime hands the network to TensorRT, which builds its plan when the server starts.
        lines.append('optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }')
    return "\n".join(lines) + "\n"


def _tensor(tensor: Tensor) -> str:
    dims = ", ".join(map(str, tensor.shape))
    return f"    name: {_quoted(tensor.name)}\n    data_type: TYPE_FP32\n    dims: [ {dims} ]\n"


def _quoted(text: str) -> str:
    """A string of protobuf's text format, which knows JSON's escapes but for control characters; names hold none."""
    return json.dumps(text, ensure_ascii=False)


def _classifies(bundle: Bundle) -> bool:
    return len(bundle.manifest.output.shape) == 1 and len(bundle.labels) == bundle.manifest.output.shape[0]
