"""What a network is, as a hash: its operators and its numbers."""

from __future__ import annotations

import hashlib

import torch

from edgeprune.model.operators import name_of
from edgeprune.model.traced import Traced


def content_hash(traced: Traced) -> str:
    """Hex sha256 of the operators in order, the names and values of all tensors, and the input's shape.

    Not of the graph's text: names of nodes may change where it is saved and read again.
    """
    graph = [name_of(node) or node.op for node in traced.module.graph.nodes if node.op == "call_function"]
    hasher = hashlib.sha256(repr((graph, traced.input_shape)).encode())
    for name, tensor in sorted(traced.module.state_dict().items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()
