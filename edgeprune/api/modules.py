"""What the verbs do with a caller's modules and tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from edgeprune.compact.apply import Compacted, compact_soundly
from edgeprune.compact.implant import implanted
from edgeprune.errors import EdgepruneError
from edgeprune.model.device import device_of
from edgeprune.model.groups import Group
from edgeprune.model.traced import Traced, trace
from edgeprune.pruning.cuts import Cuts
from edgeprune.pruning.plan import Prunable
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


def check_data(data: object, example: Tensor) -> None:
    """Refuse what is no pair of images and labels, or images that the network does not take.

    Raises:
        EdgepruneError: the text says what is wrong.
    """
    pair = isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)
    if not isinstance(data, tuple | list) or not pair:
        raise EdgepruneError("data must be two tensors: (images, labels).")
    x, y = data
    wanted = f"[n, {', '.join(str(side) for side in example.shape[1:])}] of {example.dtype}"
    if x.shape[1:] != example.shape[1:] or x.dtype != example.dtype:
        raise EdgepruneError(f"data: images are {[*x.shape]} of {x.dtype}. Give {wanted}, as example_inputs are.")
    if not len(x) or len(x) != len(y):
        raise EdgepruneError(f"data: {len(x)} images and {len(y)} labels. Give as many of each, at least one.")
    if not bool(x.isfinite().all()):
        raise EdgepruneError("data: the images hold NaN or infinity. Check how they were read.")


def traced_of(module: nn.Module, example_inputs: Tensor) -> Traced:
    if isinstance(module, Network):
        copy = deepcopy(module)
        copy.train(False)
        return Traced(copy, module.input_shape)
    with torch.no_grad():
        return trace(module, tuple(example_inputs.shape[1:]))


def cut_out(
    traced: Traced, ground: Prunable, chosen: Callable[[list[Group]], Cuts], example: Tensor, stacklevel: int
) -> Compacted:
    """Take the chosen channels out, and prove it on the example; a group whose proof fails is warned of."""
    x = example.to(device_of(traced))
    done = implanted(compact_soundly(traced, ground.found, ground.groups, chosen, x), ground, x)
    for name, why in done.refused.items():
        warnings.warn(f"{name} is left whole: {why}", stacklevel=stacklevel)
    return done
