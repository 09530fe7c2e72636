"""What the verbs do with a caller's modules and tensors."""

from __future__ import annotations

import warnings
from copy import deepcopy

import torch
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.traced import Traced, trace
from edgeprune.train.network import Network


def warn(line: str) -> None:
    warnings.warn(line, stacklevel=2)


def one_tensor(example_inputs: Tensor | tuple[Tensor]) -> Tensor:
    """The one tensor, also where it comes as the tuple that torch.export asks for."""
    single = isinstance(example_inputs, tuple) and len(example_inputs) == 1
    tensor = example_inputs[0] if single else example_inputs
    if not isinstance(tensor, Tensor) or tensor.dim() < 2:
        raise EdgepruneError("example_inputs must be one tensor with a batch axis, as torch.randn(1, 3, 224, 224).")
    return tensor


def traced_of(module: nn.Module, example_inputs: Tensor) -> Traced:
    if isinstance(module, Network):
        copy = deepcopy(module)
        copy.train(False)
        return Traced(copy, module.input_shape)
    with torch.no_grad():
        return trace(module, tuple(example_inputs.shape[1:]))
