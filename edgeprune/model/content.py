"""What a network is, as a hash: its graph and its numbers."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, fx

from edgeprune.model.traced import Traced


def content_hash(traced: Traced) -> str:
    """Hex sha256 of the operators with their arguments and wiring, all parameters and buffers, and the input's shape.

    Nodes count by their place: their names may change where a network is saved and read again.
    """
    hasher = hashlib.sha256(repr(traced.input_shape).encode())
    called = [node for node in traced.module.graph.nodes if node.op != "get_attr"]
    places = {node: place for place, node in enumerate(called)}

    def said(node: fx.Node) -> str:
        return f"%{places[node]}" if node in places else f"@{node.target}"

    for node in called:
        what = node.target if node.op in {"call_function", "call_module"} else node.op
        hasher.update(f"{what} {fx.map_arg((node.args, dict(node.kwargs)), said)}\n".encode())
    tensors: dict[str, Tensor] = dict(traced.module.named_parameters()) | dict(traced.module.named_buffers())
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()
