"""Contractions in forms that the networks of `tests.zoo` do not have."""

from __future__ import annotations

import torch


class Spellings(torch.nn.Module):
    """One of `FORMS` over the rows of an image of `zoo.SHAPE`, `[B, 12, 36]`."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.head = form, torch.nn.Linear(36, 5)
        self.square, self.cube = (torch.nn.Parameter(torch.randn(*shape)) for shape in ((72, 36), (12, 36, 36)))
        self.query = torch.nn.Parameter(torch.randn(1, 7, 36))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.transpose(1, 2).flatten(2)
        return self.head(getattr(self, self.form)(rows))

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        scores = torch.einsum("...ij,...kj->...ik", rows, rows)
        return torch.einsum("...ik,...kj->...ij", scores, rows).mean(1)

    def slices(self, rows: torch.Tensor) -> torch.Tensor:
        f = torch.nn.functional.linear
        return (f(rows, self.square[:36]) + f(rows, self.square[36:])).mean(1)

    def learned_query(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(self.query, rows, rows).mean(1)

    def cubes(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows.transpose(0, 1) @ self.cube).mean(0)

    def vector(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.mean(1) + torch.matmul(self.square, rows.mean((0, 1)))[:36]

    def cube_and_vector(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.mean(1) + torch.matmul(self.cube, rows.mean((0, 1))).mean(0)


FORMS = {"spread": 0, "slices": 0, "learned_query": 0, "cubes": 0, "vector": 72 * 36, "cube_and_vector": 12 * 36 * 36}
"""Form -> the multiply-adds with vectors, which torch's counter leaves out."""
