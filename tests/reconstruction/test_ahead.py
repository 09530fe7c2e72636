"""How far ahead operations are, on graphs whose answer is written out."""

from __future__ import annotations

from torch import fx

from edgeprune.model.operators import name_of
from edgeprune.reconstruction.ahead import operations_ahead
from tests.reconstruction.nets import attending, block, reader


def _ahead(module: fx.GraphModule, weight: str, steps: int | None) -> list[tuple[str, int]]:
    found = operations_ahead(module.graph, [reader(module, weight)], steps)
    return [(name_of(node), far) for node, far in found.items()]


def test_operations_of_a_residual_block_count_along_the_longest_way() -> None:
    module = block()[0].module
    whole = [("conv2d", 0), ("relu", 1), ("conv2d", 2), ("relu", 3), ("conv2d", 4), ("relu", 5), ("linear", 6)]
    found = _ahead(module, "stem.weight", None)
    # stem, relu, a, relu, b, relu after the sum, head: the sum itself, BatchNorm and the mean are passed through.
    assert [name for name, _ in found] == [name for name, _ in whole]
    assert found == whole
    for steps in range(7):
        # Nothing beyond: the shortcut alone reaches the sum at 1, but its value needs what lies at 4.
        assert _ahead(module, "stem.weight", steps) == whole[: steps + 1]


def test_branches_that_do_not_depend_on_the_layer_are_not_matched() -> None:
    module = attending()[0].module
    assert _ahead(module, "q.weight", 1) == [("linear", 0), ("scaled_dot_product_attention", 1)]
    found = _ahead(module, "q.weight", None)
    assert found == [
        ("linear", 0), ("scaled_dot_product_attention", 1), ("linear", 2), ("linear", 3), ("gelu", 4), ("linear", 5),
        ("linear", 6),
    ]  # fmt: skip


def test_all_branches_within_reach_are_matched() -> None:
    module = attending()[0].module
    found = _ahead(module, "embed.weight", 1)
    assert found == [("linear", 0), ("linear", 1), ("linear", 1), ("linear", 1)]  # q, k and v
