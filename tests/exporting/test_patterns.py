"""The pattern in the file: through folding, INT8 training and export, on small networks."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.lower import to_onnxruntime, to_tensorrt
from edgeprune.exporting.onnx import to_onnx
from edgeprune.exporting.patterns import check_patterns, find_patterns, weights_of
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.eligible import eligible
from edgeprune.pruning.masks import Masks, Share, apply_masks, choose_masks
from edgeprune.quantization.fake import observe
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.qat import Scheme, prepare
from edgeprune.spec.pattern import parse_pattern
from edgeprune.spec.target import load_target
from edgeprune.train.hold import holding
from tests import zoo
from tests.exporting.networks import OPSET, OWN, STYLES, Style, images

CPU = load_target("cpu-x86-avx2")
LOWER = {"onnxruntime": to_onnxruntime, "tensorrt": to_tensorrt}


def _build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return OWN[name]().eval() if name in OWN else zoo.build(name)


def _masked(name: str, text: str) -> tuple[Traced, Masks]:
    traced, pattern = trace(_build(name), zoo.SHAPE), parse_pattern(text)
    masks = choose_masks(
        traced.module, eligible(traced, pattern, CPU, ()), pattern, "magnitude", None, Share(0.6, 0.95)
    )
    apply_masks(traced.module, masks.kept)
    return traced, masks


def _shipped(traced: Traced, masks: Masks, style: Style) -> onnx.ModelProto:
    """Train in INT8 for a few steps with large gradients, freeze, export, and lower."""
    prepared = prepare(traced, Scheme(*style, 8), [images()])
    optimizer = torch.optim.SGD(prepared.module.parameters(), lr=0.05, momentum=0.9, weight_decay=0.05)
    hold = holding(masks.kept)
    observe(prepared.module, True)
    for step in range(3):
        loss = nn.functional.cross_entropy(prepared.module(images(seed=step)), torch.arange(32) % 5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hold(prepared.module, optimizer)
    observe(prepared.module, False)
    return LOWER[style[1]](to_onnx(freeze(prepared), OPSET))


@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize(
    "name", ["Residual", "OptionA", "Grouped", "Concat", "Shared", "Dead", "Tokens", "Transformer"]
)
def test_integer_weights_of_every_eligible_layer_keep_the_pattern(name: str, style: Style) -> None:
    traced, masks = _masked(name, "2:4")
    model = _shipped(traced, masks, style)
    found = check_patterns(model, masks.arrays(), masks.pattern)
    assert len(found) >= len(masks.kept)
    assert all(row.integer and row.zeros >= 0.5 for row in found.values())
    # Once more, by loops over the codes.
    for layer in found:
        codes = weights_of(model)[layer]
        rows = np.moveaxis(codes.reshape(*codes.shape[:2], -1), 1, 2).reshape(-1, 4)
        assert all(np.count_nonzero(row) <= 2 for row in rows)


@pytest.mark.parametrize("pattern", ["1:4", "1x2", "unstructured"])
def test_so_do_the_other_patterns_and_float_networks(pattern: str) -> None:
    traced, masks = _masked("Transformer", pattern)
    float_model = to_onnx(fold_batch_norm(traced), OPSET)
    for model, integer in ((float_model, False), (_shipped(traced, masks, STYLES[2]), True)):
        found = check_patterns(model, masks.arrays(), masks.pattern)
        assert {row.integer for row in found.values()} == {integer}
        assert {row.layer for row in found.values()} == {name.removesuffix(".weight") for name in masks.kept}


def test_what_is_found_is_named() -> None:
    traced, _ = _masked("Residual", "2:4")
    found = find_patterns(to_onnx(fold_batch_norm(traced), OPSET), parse_pattern("2:4"))
    assert found["a.0"].pattern == "2:4"
    assert found["a.0"].shape == (16, 16, 3, 3)
    assert found["head"].pattern == "4:4"
    assert found["stem.0"].pattern == "dense"  # three inputs


def test_a_file_that_lost_the_pattern_is_refused() -> None:
    traced, masks = _masked("Residual", "2:4")
    model = to_onnx(fold_batch_norm(traced), OPSET)
    broken = copy.deepcopy(model)
    tensor = next(t for t in broken.graph.initializer if t.name == "a.0.weight")
    value = numpy_helper.to_array(tensor).copy()
    value[3, 4:8, 1, 1] = 0.5
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    with pytest.raises(EdgepruneError, match=r"a\.0: lost its pattern 2:4 .*2 weights"):
        check_patterns(broken, masks.arrays(), masks.pattern)
    renamed = copy.deepcopy(model)
    next(node for node in renamed.graph.node if node.name == "a.0").name = "other"
    with pytest.raises(EdgepruneError, match=r"a\.0: has pattern 2:4 but is not in the ONNX file"):
        check_patterns(renamed, masks.arrays(), masks.pattern)
