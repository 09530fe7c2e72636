"""From the exported graph to ONNX with explicit QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch

from edgeprune.export.constants import store_constants
from edgeprune.export.names import name_batch, name_nodes
from edgeprune.export.pooling import pool_globally
from edgeprune.export.weights import quantize_weights
from edgeprune.export.wiring import sweep
from edgeprune.model.fake_shapes import teach_fake_quantize_shapes
from edgeprune.model.traced import Traced

LOWEST_OPSET = 18
"""torch's exporter writes none below; onnx converts down from there."""
INPUT, OUTPUT, BATCH = "input", "output", "batch"


def to_onnx(traced: Traced, opset: int) -> onnx.ModelProto:
    """Export a network in eval mode, with or without frozen quantizers.

    Fold BatchNorms first (`quantize.fold`). The first axis is dynamic and called `batch`; weights behind a
    quantizer are stored as INT8.
    """
    teach_fake_quantize_shapes()
    batch = torch.export.Dim(BATCH, min=1, max=4096)
    with _quiet(), torch.no_grad():
        program = torch.export.export(traced.module, (traced.example(),), dynamic_shapes=({0: batch},))
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=max(opset, LOWEST_OPSET),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert exported is not None
    model: onnx.ModelProto = exported.model_proto
    for clean_up in (store_constants, pool_globally, quantize_weights, sweep, name_nodes):
        clean_up(model)
    name_batch(model, BATCH)
    if opset < LOWEST_OPSET:
        model = onnx.version_converter.convert_version(model, opset)
    onnx.checker.check_model(model, full_check=True)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter prints, warns and logs; errors still come as exceptions."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
