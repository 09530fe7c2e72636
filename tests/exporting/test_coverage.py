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
"""There is no integer kernel for a grouped transposed convolution, and a roll in front of a layer parts it from its
codes."""
PRODUCTS_IN_FLOAT = ("GroupedQueries", "Einsum", "Computed")
"""Grouped queries stay whole, an einsum has no integer kernel, nor has a convolution whose kernel is computed."""


@pytest.mark.parametrize("name", [name for name in EVERY if name not in FLOAT])
def test_every_layer_and_every_product_runs_in_int8(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(lowered(name, STYLES[0]), path)
    found, network = int8_share(path, zoo.SHAPE), folded(name)
    in_float = sum(product.macs for product in products(network)) if name in PRODUCTS_IN_FLOAT else 0
    assert found.total_macs == macs(network)
    assert found.int8_macs == found.total_macs - in_float
    assert found.share == pytest.approx(1 - in_float / found.total_macs)
    assert bool(found.float_nodes) == bool(in_float)


def test_a_transposed_convolution_runs_in_int8_as_a_convolution(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(lowered("Upwards", STYLES[0]), path)
    names = {node.name for node, _ in macs_per_node(path, zoo.SHAPE, optimise=True) if node.op_type in INT8}
    assert any(name.startswith("up") for name in names)
    assert "up" not in int8_share(path, zoo.SHAPE).float_nodes


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
