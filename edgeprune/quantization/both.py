"""A network in float and in INT8 at once, node by node; no tensor lives longer than its last reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from edgeprune.quantization.graph import is_quantizer

See = Callable[[fx.Node, Any, Any], Tensor | None]
"""Is shown each operator's result, in float and in INT8; what it returns stands in for the latter."""


@dataclass(frozen=True)
class _Pair:
    wanted: Any
    got: Any


class Both(fx.Interpreter):
    """Runs a graph with quantizers, not frozen."""

    def __init__(self, module: fx.GraphModule, see: See) -> None:
        super().__init__(module)
        self.see = see

    def run_on(self, x: Tensor) -> None:
        self.run(_Pair(x, x))

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("placeholder", "output", "get_attr"):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if is_quantizer(n):
            rounded = self.call_module(n.target, _side(args, "got"), {})
            return _Pair(_side(args, "wanted")[0], rounded)
        wanted, got = (run(n, _side(args, side), _side(kwargs, side)) for side in ("wanted", "got"))
        instead = self.see(n, wanted, got)
        return _Pair(wanted, got if instead is None else instead)

    def inputs(self, node: fx.Node) -> tuple[Any, ...]:
        """The arguments of an operator that is being shown, in INT8."""
        found: tuple[Any, ...] = _side(self.fetch_args_kwargs_from_env(node)[0], "got")
        return found


def run(node: fx.Node, args: Any, kwargs: Any) -> Any:
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _side(value: Any, side: str) -> Any:
    if isinstance(value, _Pair):
        return getattr(value, side)
    if isinstance(value, list | tuple):
        return type(value)(_side(one, side) for one in value)
    return {key: _side(one, side) for key, one in value.items()} if isinstance(value, dict) else value
