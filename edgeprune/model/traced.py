"""Traced: a network as the exported graph that every step works on.

The module is the `torch.fx.GraphModule` of a `torch.export.ExportedProgram` in the training dialect of ATen
(`aten.conv2d`, `aten.batch_norm`, `aten.linear` stay whole). Parameters and buffers are attributes under the
names of the user's state dict. It takes one float tensor `[batch, *input_shape]` with a dynamic batch and
returns one tensor; it trains like any module, except that BatchNorm's mode is an argument of its node
(`train.modes`).
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.constants import drop_unread, fold_constants
from edgeprune.model.fake_shapes import teach_fake_quantize_shapes
from edgeprune.model.functional import functionalise
from edgeprune.model.inline import inline_regions
from edgeprune.model.quiet import quiet
from edgeprune.model.shared import one_name_each


@dataclass(frozen=True)
class Traced:
    """An exported network. `input_shape` is without the batch axis."""

    module: fx.GraphModule
    input_shape: tuple[int, ...]

    def example(self, batch: int = 2) -> Tensor:
        """Return zeros of the network's input shape, in the type and on the device of its parameters."""
        like = next(self.module.parameters())
        return torch.zeros(batch, *self.input_shape, dtype=like.dtype, device=like.device)


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> Traced:
    """Export a module with a dynamic batch, in eval mode.

    Raises:
        EdgepruneError: it does not take such an input, returns no single tensor, or cannot be exported;
            the text names the line of the user's code.
    """
    modes = {part: part.training for part in module.modules()}
    try:
        return _trace_in_eval(module.eval(), input_shape)
    finally:
        for part, training in modes.items():
            part.training = training


def _trace_in_eval(module: nn.Module, input_shape: tuple[int, ...]) -> Traced:
    parameter = next(module.parameters(), None)
    if parameter is None:
        raise EdgepruneError("the model has no parameters. Give a function that returns the network itself.")
    example = torch.zeros(2, *input_shape, dtype=parameter.dtype, device=parameter.device)
    size = "x".join(str(n) for n in input_shape)
    try:
        with torch.no_grad():
            output = module(example)
    except Exception as error:
        raise EdgepruneError(
            f"the model does not take a {size} input: {_first_line(error)}{_where(error)}. "
            "Give --image-size, or images of the size it was trained on."
        ) from error
    if not isinstance(output, Tensor):
        raise EdgepruneError(
            f"the model returns {type(output).__name__}, not one tensor. Wrap it so that it returns the logits."
        )
    graph = fold_constants(_graph(_export(module, example), parameters=True))
    drop_unread(graph, {name for name, _ in graph.named_parameters()})  # heads that only training would use
    traced = Traced(graph, input_shape)
    _check_same(module, traced)
    return traced


def _check_same(module: nn.Module, traced: Traced) -> None:
    """Refuse a graph that computes something else than its module, as after writes into memory that two names share."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *traced.input_shape, generator=generator).to(traced.example())
    with torch.no_grad():
        wanted, got = module(x.clone()), traced.module(x.clone())
    if not torch.allclose(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()), equal_nan=True):
        raise EdgepruneError(
            f"the exported graph differs from the model by {float((got - wanted).abs().max()):.2g}. "
            "It writes in place into a tensor that it reads again, or is random: use out-of-place operators."
        )


def _graph(program: torch.export.ExportedProgram, parameters: bool) -> fx.GraphModule:
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    # Constants first: a mask that is filled in place is no writing into a view once it is a constant.
    return functionalise(fold_constants(one_name_each(inline_regions(module)), parameters))


def _export(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    teach_fake_quantize_shapes()  # a network with frozen quantizers is exported too
    batch = torch.export.Dim("batch", min=1, max=4096)
    try:
        with quiet():
            return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:
        where = _where(error) or _fixes_batch(module, example)
        raise EdgepruneError(
            f"the model cannot be exported with a dynamic batch: {_reason(error)}{where}. "
            "Rewrite that line without Python branches on tensor values or fixed batch sizes "
            "(x.flatten(1) or x.shape[0], not len(x) or a number)."
        ) from error


def _reason(error: Exception) -> str:
    if "specialized it to be a constant" in str(error):
        return "it fixes the batch size"
    return _first_line(error)


def _fixes_batch(module: nn.Module, example: Tensor) -> str:
    """Name the line that turned the batch size into a number, by exporting an odd one and looking for it."""
    odd = 13
    try:
        with quiet():
            program = torch.export.export(module, (example.new_zeros(odd, *example.shape[1:]),))
    except Exception:  # the first error is the one to tell
        return ""
    for node in program.graph.nodes:
        numbers = torch.utils._pytree.tree_leaves((node.args, node.kwargs))
        lines = [line.strip() for line in node.meta.get("stack_trace", "").splitlines() if line.strip()]
        if odd in [n for n in numbers if isinstance(n, int)] and len(lines) > 1:
            return f" ({' '.join(lines[-2:])})"
    return ""


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _where(error: Exception) -> str:
    """The last line of the user's own code in a traceback, as ` (file.py:12: code)`."""
    frames = [*_frames(error)]
    own = [f for f in frames if "/torch/" not in f.filename and "/edgeprune/model/" not in f.filename]
    if not own:
        return ""
    last = own[-1]
    return f" ({last.filename}:{last.lineno}: {last.line})"


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    if error.__cause__ is not None:
        yield from _frames(error.__cause__)
    yield from traceback.extract_tb(error.__traceback__)


def save(traced: Traced, path: Path) -> None:
    """Write a `.pt2` that loads without the user's code; the caller makes it atomic."""
    whole = io.BytesIO()  # torch's own writer to a file ends the process where the disk is full
    torch.export.save(_export(traced.module, traced.example()), whole)
    path.write_bytes(whole.getbuffer())


def load(path: Path) -> Traced:
    """Read a `.pt2`.

    Raises:
        EdgepruneError: not a `.pt2`, or not of one image tensor with a batch axis.
    """
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise EdgepruneError(
            f"{path}: not a readable .pt2 ({_first_line(error)}). Write it with torch.export.save."
        ) from None
    given: Any = program.example_inputs or ((), {})
    args, kwargs = given
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor) or args[0].dim() < 2:
        count = len(args) + len(kwargs)
        raise EdgepruneError(f"{path}: takes {count} inputs; one tensor with a batch axis is needed.")
    return Traced(_graph(program, parameters=False), tuple(args[0].shape[1:]))
