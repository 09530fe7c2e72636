from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.check import INT8_LIMIT, agreement, network_parameters, stored_parameters
from edgeprune.exporting.onnx import to_onnx
from edgeprune.exporting.session import sums_in_32_bits
from edgeprune.model.count import params
from edgeprune.model.traced import Traced
from tests.exporting.networks import CASES, OPSET, Style, folded, frozen, images, lowered


def _counts_alike(traced: Traced) -> bool:
    """Whether no two parameters are equal, which a file counts once, and no buffer counts beside them."""
    different = {parameter.detach().numpy().tobytes() for parameter in traced.module.parameters()}
    return len(different) == len([*traced.module.parameters()]) and not [*traced.module.buffers()]


@pytest.mark.parametrize(("name", "style"), CASES, ids=str)
def test_what_ships_agrees_with_what_was_trained(name: str, style: Style, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(lowered(name, style), path)
    found = agreement(frozen(name, style), path, images(32, seed=5), exact=True)
    assert found.worst < 0.2 * INT8_LIMIT
    assert found.same_class == 1.0
    assert stored_parameters(lowered(name, style)) <= network_parameters(frozen(name, style))
    # The one bias of Shared is rounded in two units, that of Twice too; ModuleAttention's is three, two of them zero;
    # group norms come with ones and zeros; the bias of Upwards is there for every phase of a transposed convolution.
    if name not in ("Shared", "Twice", "ModuleAttention", "Norms", "Upwards") and _counts_alike(folded(name)):
        assert stored_parameters(lowered(name, style)) == params(folded(name))


def _broken(tmp_path: Path, factor: float) -> Path:
    model = to_onnx(folded("Residual"), OPSET)
    tensor = next(t for t in model.graph.initializer if t.name == "d.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    onnx.save(model, tmp_path / "broken.onnx")
    return tmp_path / "broken.onnx"


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    assert agreement(folded("Residual"), _broken(tmp_path, 1), images(), exact=False).worst < 1e-5
    with pytest.raises(EdgepruneError, match="differs from the network"):
        agreement(folded("Residual"), _broken(tmp_path, 1.5), images(), exact=False)
    with pytest.raises(EdgepruneError, match="differs from the network"):
        agreement(folded("Residual"), _broken(tmp_path, float("nan")), images(), exact=False)


def test_a_file_that_was_not_pruned_is_refused(tmp_path: Path) -> None:
    onnx.save(to_onnx(folded("Residual"), OPSET), tmp_path / "dense.onnx")
    with pytest.raises(EdgepruneError, match=r"holds \d+ parameters, the network has"):
        agreement(folded("Plain"), tmp_path / "dense.onnx", images(), exact=False)


def test_cpu_flags_decide_whether_sums_saturate(tmp_path: Path) -> None:
    for text, expected in [
        ("flags : avx2 fma", False),
        ("flags\t: avx2 avx512_vnni", True),
        ("Features : asimddp", True),
    ]:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{text}\n")
        assert sums_in_32_bits(tmp_path / "cpuinfo") is expected
    assert not sums_in_32_bits(tmp_path / "missing")
