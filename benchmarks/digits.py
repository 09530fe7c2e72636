"""A small vision transformer trained on the handwritten digits, which need no download."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeprune.model.batches import train_batches
from edgeprune.model.data import Data, load_data
from edgeprune.model.networks.vit import VisionTransformer
from edgeprune.spec.recipe import Source


def digits_transformer(epochs: int = 8) -> tuple[VisionTransformer, Data]:
    """Width 96, depth 4, 3 heads, 17 tokens; trained by Adam. The same for the same torch and threads."""
    data = load_data(Source(model="vit", data="digits"), 32)
    torch.manual_seed(0)
    module = VisionTransformer(8, 4, 96, 3, 10, 1, 32)
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for epoch in range(epochs):
        for x, y in train_batches(data.train, data.preprocessing, 64, "crop", 0, epoch):
            optimizer.zero_grad()
            functional.cross_entropy(module(x), y).backward()
            optimizer.step()
    return module.eval(), data
