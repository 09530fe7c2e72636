"""From the exported graph to ONNX with explicit QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import copy
import re

import onnx
import torch

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.constants import make_scalars, store_constants
from edgeprune.exporting.gelu import order_gelu
from edgeprune.exporting.names import name_batch, name_nodes
from edgeprune.exporting.pooling import pool_globally
from edgeprune.exporting.ranks import with_four_axes
from edgeprune.exporting.slices import merge_slices
from edgeprune.exporting.transposed import name_transposed, transpose_codes
from edgeprune.exporting.weights import quantize_weights
from edgeprune.exporting.wiring import sweep
from edgeprune.model.fake_shapes import teach_fake_quantize_shapes
from edgeprune.model.quiet import quiet
from edgeprune.model.traced import Traced

LOWEST_OPSET = 18
"""torch's exporter writes none below; onnx converts down from there."""
INPUT, OUTPUT, BATCH = "input", "output", "batch"


def to_onnx(traced: Traced, opset: int) -> onnx.ModelProto:
    """Export a network in eval mode, with or without frozen quantizers.

    Fold BatchNorms first (`quantization.fold`). The first axis is dynamic and called `batch`; weights behind a
    quantizer are stored as INT8.

    Raises:
        EdgepruneError: an operator that ONNX, or torch's exporter, does not have in this form; the text names it.
    """
    teach_fake_quantize_shapes()
    batch = torch.export.Dim(BATCH, min=1, max=4096)
    with quiet(), torch.no_grad():
        module = with_four_axes(copy.deepcopy(traced.module))
        program = torch.export.export(module, (traced.example(),), dynamic_shapes=({0: batch},))
        exported = _exported(program, opset)
    assert exported is not None
    model: onnx.ModelProto = exported.model_proto
    for clean_up in (
        store_constants,
        pool_globally,
        order_gelu,
        merge_slices,
        quantize_weights,
        transpose_codes,
        sweep,
    ):
        clean_up(model)
    make_scalars(model, traced.module.state_dict())
    name_transposed(model, {n: p.detach().cpu().numpy() for n, p in traced.module.named_parameters()})
    name_nodes(model)
    name_batch(model, BATCH)
    if opset < LOWEST_OPSET:
        model = onnx.version_converter.convert_version(model, opset)
    onnx.checker.check_model(model, full_check=True)
    return model


def _exported(program: torch.export.ExportedProgram, opset: int) -> torch.onnx.ONNXProgram | None:
    try:
        return torch.onnx.export(
            program,
            dynamo=True,
            opset_version=max(opset, LOWEST_OPSET),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        # The error itself is a page on what to do with torch; its cause is the node, and where that stands.
        why = str(error.__cause__ or error).splitlines()[0]
        target = re.search(r"target=torch\.ops\.([\w.]+)", why)
        named = target[1] if target is not None else why[:200]
        raise EdgepruneError(
            f"{named} cannot be written as ONNX in this form. Write that operation another way."
        ) from error
