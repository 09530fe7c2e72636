"""A network that takes pixels 0..255 and puts out probabilities: for servers that cannot normalise per channel."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeprune.spec.bundle import Bundle

PIXELS, PROBABILITIES = "pixels", "probabilities"


def with_raw_pixels(content: bytes, bundle: Bundle) -> bytes:
    """Put `(pixels / 255 - mean) / std` before a bundle's network and a softmax behind it; both in float32.

    The network between them stays as it is, quantizers and all.
    """
    model = onnx.load_from_string(content)
    graph, wanted = model.graph, bundle.manifest.preprocessing
    inner, outer = graph.input[0].name, graph.output[0].name
    constants = {"raw_255": [255.0], "raw_mean": wanted.mean, "raw_std": wanted.std}
    for name, values in constants.items():
        array = np.array(values, np.float32).reshape(-1, 1, 1)
        graph.initializer.append(numpy_helper.from_array(array, name))
    front = [
        helper.make_node("Div", [PIXELS, "raw_255"], ["raw_scaled"], "raw_scale"),
        helper.make_node("Sub", ["raw_scaled", "raw_mean"], ["raw_centred"], "raw_centre"),
        helper.make_node("Div", ["raw_centred", "raw_std"], [inner], "raw_normalise"),
    ]
    nodes = [*front, *graph.node, helper.make_node("Softmax", [outer], [PROBABILITIES], "raw_softmax", axis=-1)]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input[0].name, graph.output[0].name = PIXELS, PROBABILITIES
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
