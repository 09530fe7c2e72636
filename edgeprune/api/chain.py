"""The whole chain, and a look at what it would find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgeprune.api.modules import one_tensor, traced_of, warn
from edgeprune.pipeline.compress import compress as run_chain
from edgeprune.pipeline.options import default_folder, recipe_from
from edgeprune.progress import Tick, silent
from edgeprune.pruning.inspection import inspect_network
from edgeprune.spec.inspection import Inspection
from edgeprune.spec.result import Result
from edgeprune.spec.target import load_target


def compress(
    model: str | None = None,
    data: str | None = None,
    target: str | None = None,
    output: str | Path | None = None,
    tick: Tick = silent,
    **options: Any,
) -> Result:
    """Run the whole chain; the same as `edgeprune compress`.

    Args:
        model: built-in name, `file.py:function`, `package.module:function` or `.pt2`; None: the built-in example.
        data: folder, `.npz`, `digits` or `file.py:function`.
        target: a name of `edgeprune targets` or a `.toml` file; None: this machine's CPU.
        output: the run directory; None: `runs/MODEL-TARGET`.
        tick: told how far it is.
        **options: the command's other options by name, as `macs=0.5`, `epochs=3`, `weights="net.safetensors"`.

    Raises:
        EdgepruneError: anything that the caller can mend.
    """
    asked = recipe_from({"model": model, "data": data, "target": target, **options})
    outcome = run_chain(asked, Path(output) if output is not None else default_folder(asked), tick, warn)
    assert outcome.result is not None
    return outcome.result


def inspect(module: nn.Module, example_inputs: Tensor | tuple[Tensor], *, target: str | None = None) -> Inspection:
    """Look a module over: its groups of channels, what is frozen and why, and what its layers cost.

    Args:
        module: the network; it is not changed.
        example_inputs: a float tensor `[batch, ...]` as the network takes it.
        target: for its channel multiple and its milliseconds.
    """
    device = load_target(target) if target is not None else None
    return inspect_network(traced_of(module, one_tensor(example_inputs)), type(module).__name__, device)
