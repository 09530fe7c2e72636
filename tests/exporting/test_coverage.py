from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgeprune.exporting.coverage import int8_share
from edgeprune.exporting.macs import INT8, macs_per_node
from edgeprune.exporting.onnx import to_onnx
from edgeprune.model.count import macs, products
from edgeprune.model.traced import trace
from tests import zoo
from tests.exporting.networks import EVERY, OPSET, STYLES, exported, folded, lowered
from tests.spellings import FORMS, Spellings

FLOAT = ("Upwards", "Windows", "SplitAttention")
"""There is no integer kernel for a transposed convolution, and a roll in front of a layer parts it from its codes."""


@pytest.mark.parametrize("name", [name for name in EVERY if name not in FLOAT])
def test_every_layer_runs_in_int8_and_products_of_activations_in_float(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(lowered(name, STYLES[0]), path)
    found, network = int8_share(path, zoo.SHAPE), folded(name)
    in_float = sum(product.macs for product in products(network))
    assert found.total_macs == macs(network)
    assert found.int8_macs == found.total_macs - in_float
    assert found.share == pytest.approx(1 - in_float / found.total_macs)
    assert bool(found.float_nodes) == bool(in_float)
    kinds = {node.op_type for node, _ in macs_per_node(path, zoo.SHAPE, optimise=True)}
    assert kinds <= set(INT8) | ({"MatMul", "FusedMatMul", "Einsum"} if in_float else set())


@pytest.mark.parametrize("form", list(FORMS))
def test_contractions_of_every_form_are_counted_in_the_file_as_in_the_graph(form: str, tmp_path: Path) -> None:
    network = trace(Spellings(form), zoo.SHAPE)
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(network, OPSET), path)
    assert int8_share(path, zoo.SHAPE).total_macs == macs(network)


def test_a_float_network_has_none(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(folded("Residual"), OPSET), path)
    found = int8_share(path, zoo.SHAPE)
    assert found.share == 0
    assert found.total_macs == macs(folded("Residual"))
    assert len(found.float_nodes) == 7


def test_a_signed_graph_is_not_believed(tmp_path: Path) -> None:
    # Without the lowering ONNX Runtime runs such a graph in float, without a word.
    path = tmp_path / "model.onnx"
    onnx.save(exported("OptionA", STYLES[2]), path)
    assert int8_share(path, zoo.SHAPE).share < 0.1
