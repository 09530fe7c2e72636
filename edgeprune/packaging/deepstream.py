"""A configuration of DeepStream's Gst-nvinfer plugin for a classifier of full frames.

Keys: DeepStream Developer Guide, "Gst-nvinfer", tables "property group" and "classifier". nvinfer computes
net-scale-factor * (x - offset), one factor for all channels, which cannot say a standard deviation per channel; so the
network that ships here takes pixels 0..255 and normalises itself, and the factor is 1. It also ends in a softmax, since
classifier-threshold is compared with probabilities.

nvinfer builds plans of INT8 networks only from a calibration cache and falls back to FP16 without one. A quantized
network therefore ships with model-engine-file alone, so that a missing plan is a fault and not another network.
"""

from __future__ import annotations

from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import Bundle

INPUT, OUTPUT = "pixels", "probabilities"
CONFIG, LABELS, PLAN, ONNX = "config_infer.txt", "labels_deepstream.txt", "engine.plan", "raw_pixels.onnx"
RGB, GREY = 0, 2
FP32, INT8 = 0, 1
CLASSIFIER, FULL_FRAMES = 1, 1


def check(bundle: Bundle) -> None:
    """Refuse what nvinfer cannot run as a classifier.

    Raises:
        EdgepruneError: a bundle for another runtime, without images, without classes, or with labels that do not fit.
    """
    manifest, where = bundle.manifest, bundle.path
    if manifest.runtime != "tensorrt":
        raise EdgepruneError(
            f"{where}: made for ONNX Runtime, and DeepStream runs TensorRT. Export for a Jetson or RTX."
        )
    if manifest.preprocessing.channels == "any":
        raise EdgepruneError(f"{where}: takes no images, which is all that DeepStream gives. Package it for cpp.")
    if len(manifest.output.shape) != 1 or manifest.output.shape[0] != len(bundle.labels):
        raise EdgepruneError(f"{where}: is no classifier with a label for each output. Package it for cpp.")
    separated = [label for label in bundle.labels if ";" in label]
    if separated:
        raise EdgepruneError(
            f"{where}: the label {separated[0]!r} holds a semicolon, which separates labels. Rename it."
        )


def lay_out(bundle: Bundle, batch: int, folder: Path) -> None:
    """Write the configuration and its labels."""
    (folder / CONFIG).write_text(config(bundle, batch), encoding="utf-8")
    (folder / LABELS).write_text(";".join(bundle.labels) + "\n", encoding="utf-8")


def config(bundle: Bundle, batch: int) -> str:
    """The text of the configuration file."""
    manifest = bundle.manifest
    quantized = manifest.precision == "int8"
    properties = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": FULL_FRAMES,
        "network-type": CLASSIFIER,
        "network-mode": INT8 if quantized else FP32,
        "batch-size": batch,
        "infer-dims": ";".join(map(str, manifest.input.shape)),
        "model-color-format": RGB if manifest.preprocessing.channels == "RGB" else GREY,
        "net-scale-factor": 1,
        "maintain-aspect-ratio": 0,
        "scaling-filter": 1,
        "output-blob-names": OUTPUT,
        "classifier-threshold": 0.5,
        "labelfile-path": LABELS,
        "model-engine-file": PLAN,
    }
    if not quantized:
        properties["onnx-file"] = ONNX
    return "[property]\n" + "".join(f"{key}={value}\n" for key, value in properties.items())
