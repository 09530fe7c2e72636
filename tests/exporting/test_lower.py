"""The lowering for ONNX Runtime keeps every code, saturation and dead channels included."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.lower import to_onnxruntime, to_tensorrt
from edgeprune.exporting.onnx import to_onnx
from tests.exporting.networks import CASES, OPSET, STYLES, Style, exported, frozen, images, lowered, outputs

Q = "QuantizeLinear"


def _codes(model: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """The tensor that holds each activation's codes, and its zero point's name, by the Q's output name."""
    nodes = {n.output[0]: n for n in model.graph.node}
    found = {}
    for node in model.graph.node:
        if node.op_type == Q:
            capped = f"{node.output[0]}_capped"
            found[node.output[0]] = (capped if capped in nodes else node.output[0], node.input[2])
    return found


@pytest.mark.parametrize(("name", "style"), CASES, ids=str)
def test_every_code_is_the_same(name: str, style: Style) -> None:
    original, model = exported(name, style), lowered(name, style)
    x = images(8, seed=1) * 10  # far outside the calibrated ranges
    before, after = _codes(original), _codes(model)
    shared = [q for q in before if q in after]
    assert len(shared) >= len(before) - 3  # a Q may move up, onto the parts of a concatenation or before a transpose
    zeros = {t.name: onnx.numpy_helper.to_array(t).astype(int) for m in (original, model) for t in m.graph.initializer}
    wanted = outputs(original, x, ["output", *(before[q][0] for q in shared)], optimise=False)
    got = outputs(model, x, ["output", *(after[q][0] for q in shared)], optimise=False)
    # A bias in an Add of its own is the one thing that rounds elsewhere.
    assert np.allclose(got[0], wanted[0], rtol=1e-5, atol=1e-6 * np.abs(wanted[0]).max())
    for q, a, b in zip(shared, wanted[1:], got[1:], strict=True):
        assert np.array_equal(a.astype(int) - zeros[before[q][1]], b.astype(int) - zeros[after[q][1]]), q


OTHER_ARITHMETIC = ("Windows", "SplitAttention")
"""ONNX Runtime runs a layer behind a roll on integer weights alone, and a softmax on codes by a table of its own."""


@pytest.mark.parametrize(("name", "style"), [case for case in CASES if case[0] not in OTHER_ARITHMETIC], ids=str)
def test_integer_kernels_differ_by_no_more_than_a_few_single_codes(name: str, style: Style) -> None:
    model = lowered(name, style)
    names = [codes for codes, _ in _codes(model).values()]
    x = images(16, seed=2) * 2
    simulated = outputs(model, x, names, optimise=False)
    integer = outputs(model, x, names, optimise=True, exact=True)
    differences = [np.abs(a.astype(int) - b.astype(int)) for a, b in zip(simulated, integer, strict=True)]
    assert not differences[0].any()  # the input's own codes
    assert differences[1].max() <= 1  # a tie that float sums decide the other way
    for tensor, difference in zip(names, differences, strict=True):
        assert difference.max() <= 4, tensor  # what such a tie becomes further on
        assert np.mean(difference > 0) <= 0.02, tensor


def test_saturation_is_really_tested() -> None:
    model = lowered("OptionA", ("signed", "tensorrt"))
    capped = [n.output[0] for n in model.graph.node if n.op_type == "Min"]
    codes = outputs(model, images(8, seed=1) * 10, capped, optimise=False)
    assert all(c.max() == 127 for c in codes[:-1])


@pytest.mark.parametrize("style", STYLES, ids="-".join)
def test_shape_operators_run_on_codes(style: Style) -> None:
    model = lowered("OptionA", style)
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    moved = [n for n in model.graph.node if n.op_type in ("Slice", "Pad", "Reshape", "Flatten")]
    assert len(moved) >= 3
    assert {types[n.output[0]] for n in moved} == {onnx.TensorProto.UINT8}


def test_clips_that_the_codes_do_are_gone() -> None:
    for style in STYLES[:2]:
        assert not [n for n in lowered("Clipped", style).graph.node if n.op_type in ("Clip", "Relu")]


def test_an_unsigned_network_is_refused_for_tensorrt() -> None:
    with pytest.raises(EdgepruneError, match="trained with unsigned codes"):
        to_tensorrt(exported("Residual", ("unsigned", "onnxruntime")))


def test_seven_bit_weights_survive_saturating_sums() -> None:
    style: Style = ("unsigned", "onnxruntime")
    model = to_onnxruntime(to_onnx(frozen("Residual", style, 7), OPSET))
    x = images(16, seed=3)
    fast, exact = (outputs(model, x, ["output"], optimise=True, exact=e)[0] for e in (False, True))
    assert np.array_equal(fast, exact)
