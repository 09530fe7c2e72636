from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.check import stored_parameters
from edgeprune.exporting.onnx import to_onnx
from edgeprune.model.count import params
from edgeprune.model.fold import fold_batch_norm
from edgeprune.model.networks.cifar_resnet import CifarResNet
from edgeprune.model.traced import trace
from edgeprune.quantization.freeze import freeze
from edgeprune.quantization.qat import Scheme, prepare
from tests.exporting.networks import EVERY, OPSET, STYLES, exported, folded, images, outputs
from tests.zoo import SHAPE

OTHERWISE_COUNTED = ("ModuleAttention", "GroupedQueries", "Norms")
"""Biases that are all zero and copies of one table are stored once; an instance norm brings ones and zeros."""


@pytest.mark.parametrize("name", EVERY)
def test_a_float_file_computes_what_the_network_does(name: str) -> None:
    model = to_onnx(folded(name), OPSET)
    for batch in (1, 5):
        x = images(batch)
        (got,) = outputs(model, x, ["output"], optimise=True)
        assert np.allclose(got, folded(name).module(x).detach().numpy(), rtol=1e-4, atol=1e-4)
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["input", "output"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    if name in OTHERWISE_COUNTED:
        return
    tables = [t for t in folded(name).module.buffers() if t.is_floating_point() and t.dim()]
    assert stored_parameters(model) == params(folded(name)) + sum(t.numel() for t in tables)


def test_means_over_space_are_global_pooling() -> None:
    for name in ("Plain", "OptionA", "Depthwise"):
        kinds = [n.op_type for n in to_onnx(folded(name), OPSET).graph.node]
        assert kinds.count("GlobalAveragePool") == 1
        assert not {"ReduceMean", "AveragePool"} & set(kinds)


def test_layers_have_their_names_and_nothing_of_this_machine_is_told() -> None:
    model = exported("Residual", STYLES[0])
    names = {n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm")}
    assert names == {"stem.0", "a.0", "b.0", "c.0", "d", "project", "head"}
    text = model.SerializeToString()
    assert str(Path.cwd()).encode() not in text
    assert b".py" not in text


def test_weights_are_stored_as_int8_and_nothing_twice() -> None:
    model = exported("Residual", STYLES[0])
    stored = {t.name: t.data_type for t in model.graph.initializer}
    assert {kind for name, kind in stored.items() if name.endswith(".weight")} == {onnx.TensorProto.INT8}
    read = {name for node in model.graph.node for name in node.input}
    assert set(stored) <= read


def test_the_exporter_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    to_onnx(folded("Plain"), OPSET)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("opset", [17, 20])
def test_the_opset_is_the_asked_one(opset: int) -> None:
    assert to_onnx(folded("Flat"), opset).opset_import[0].version == opset


def test_an_int8_file_is_much_smaller() -> None:
    torch.manual_seed(0)
    network = fold_batch_norm(trace(CifarResNet(3, 10, 3).eval(), (3, 32, 32)))
    x = torch.randn(8, 3, 32, 32)
    small = to_onnx(freeze(prepare(network, Scheme("unsigned", "onnxruntime", 8), [x])), OPSET).ByteSize()
    assert small < 0.4 * to_onnx(network, OPSET).ByteSize()


def test_an_operator_that_onnx_lacks_in_this_form_is_named_in_one_line() -> None:
    class Grouped(torch.nn.Module):
        """As many groups as there are images, which ONNX wants to know before."""

        def __init__(self) -> None:
            super().__init__()
            self.kernels, self.head = torch.nn.Linear(3, 27), torch.nn.Linear(3, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            count = x.shape[0] * 3
            kernels = self.kernels(x.mean((2, 3))).reshape(count, 1, 3, 3)
            y = torch.nn.functional.conv2d(x.reshape(1, count, 12, 12), kernels, groups=count)
            return self.head(y.reshape(-1, 3, 10, 10).mean((2, 3)))

    with pytest.raises(EdgepruneError, match=r"aten\.conv2d\.default cannot be written as ONNX") as raised:
        to_onnx(trace(Grouped(), SHAPE), OPSET)
    assert len(str(raised.value).splitlines()) == 1
