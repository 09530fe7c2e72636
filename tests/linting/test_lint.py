"""The lint's reasons, held against the graph that the installed ONNX Runtime makes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.lower import to_tensorrt
from edgeprune.exporting.onnx import to_onnx
from edgeprune.exporting.wiring import Wiring
from edgeprune.linting import onnxruntime
from edgeprune.linting.lint import lint
from edgeprune.spec.target import load_target
from tests.exporting.networks import OPSET, STYLES, exported, folded, lowered

NAMES = ("Residual", "Concat", "Depthwise", "Transformer")


def _saved(model: onnx.ModelProto, tmp_path: Path) -> Path:
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_lowered_for_onnxruntime_is_clean(name: str, tmp_path: Path) -> None:
    found = lint(_saved(lowered(name, STYLES[0]), tmp_path), load_target("cpu-x86-vnni"))
    assert found.clean
    assert found.share == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_what_is_placed_for_tensorrt_is_clean_there(name: str, tmp_path: Path) -> None:
    path = _saved(to_tensorrt(exported(name, STYLES[2])), tmp_path)
    assert lint(path, load_target("jetson-orin-nano")).clean
    there = lint(path, load_target("cpu-x86-vnni"))
    assert all(verdict.int8 or verdict.why for verdict in there.verdicts)
    if name == "Residual":  # a ReLU does not fold into int8 codes around zero
        assert not there.clean


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("style", STYLES, ids="-".join)
def test_the_rules_say_what_onnxruntime_does(name: str, style: tuple[str, str], tmp_path: Path) -> None:
    model = exported(name, style)  # type: ignore[arg-type]
    seen = lint(_saved(model, tmp_path), load_target("cpu-x86-vnni"))
    wiring, nodes = Wiring(model), {node.name: node for node in model.graph.node}
    for verdict in seen.verdicts:
        why = onnxruntime.why_float(wiring, nodes[verdict.layer])
        assert not (verdict.int8 and why), why
        if style[0] == "unsigned":  # of signed codes the runtime refuses more than the rules know
            assert verdict.int8 == (not why), verdict


def test_a_float_network_has_a_reason_for_every_layer(tmp_path: Path) -> None:
    found = lint(_saved(to_onnx(folded("Residual"), OPSET), tmp_path), load_target("cpu-x86-vnni"))
    assert found.share == 0
    assert all("is not quantized" in verdict.why for verdict in found.verdicts)


def test_eight_bit_weights_may_saturate_without_vnni(tmp_path: Path) -> None:
    found = lint(_saved(lowered("Residual", STYLES[0]), tmp_path), load_target("cpu-x86-avx2"))
    assert found.faults
    assert all("16-bit" in fault for fault in found.faults)


def test_what_is_no_network_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a network")
    for name in ("text.onnx", "missing.onnx"):
        with pytest.raises(EdgepruneError):
            lint(tmp_path / name, load_target("cpu-x86-vnni"))
