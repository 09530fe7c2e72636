"""Torch-Pruning on one network, as its own examples run it (examples/timm_models, examples/transformers, reproduce/).

Magnitude, local ratios, widths rounded to 8, the classifier ignored, and the head counts of attention given where a
module names them; channels go in twenty equal steps until half the multiply-adds by its own counter are gone. Where
that fails, one step at a ratio of 0.3, which halves a plain network, has a second chance.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from zoo_networks import CLASSES, build

from edgeprune.model.libraries import import_library

if TYPE_CHECKING:
    from zoo_step import Log

STEPS, ONCE, HALF = 20, 0.3, 0.5
QUERY_KEY_VALUE = ("qkv", "q", "k", "v", "kv", "query", "key", "value", "q_proj", "k_proj", "v_proj")


def measure(reference: str, log: Log) -> None:
    """Note whether it ran, what was left of the multiply-adds, whether the result runs and becomes ONNX."""
    attempts: list[tuple[str, int, float]] = [("in steps", STEPS, 1.0), ("at once", 1, ONCE)]
    if reference.startswith("timm:"):
        import_library("timm").layers.set_fused_attn(False)  # as its examples do
    for i, (how, steps, ratio) in enumerate(attempts):
        module, shape = build(reference)
        x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
        log.note(how=how)
        try:
            with log.step("prune"):
                share = _prune(module, x, steps, ratio)
            log.note(macs=share)
            with log.step("run"), torch.no_grad():
                _check(module(torch.cat([x, x, x])), 3)
            break
        except Exception as error:
            log.note(**{f"failed {how}": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]})
            if i + 1 == len(attempts):
                raise
    with log.step("onnx"), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        batch = torch.export.Dim("batch", min=1, max=4096)
        torch.onnx.export(module, (torch.cat([x, x]),), file, dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
        log.note(onnx_bytes=file.stat().st_size)


def _prune(module: nn.Module, x: Tensor, steps: int, ratio: float) -> float:
    """Prune in place; returns the share of multiply-adds left."""
    import torch_pruning

    count = torch_pruning.utils.count_ops_and_params
    dense, _ = count(module, x)
    heads = _heads(module)
    pruner = torch_pruning.pruner.BasePruner(
        module,
        x,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        iterative_steps=steps,
        pruning_ratio=ratio,
        ignored_layers=_classifiers(module),
        num_heads={layer: number for part, number in heads.items() for layer in _projections(part)},
        round_to=8,
        # Its defaults are dictionaries shared by all pruners.
        in_channel_groups={},
        out_channel_groups={},
    )
    share = 1.0
    for _ in range(steps):
        pruner.step()
        for part in heads:
            _resize_heads(part, pruner.num_heads)
        left, _ = count(module, x)
        share = left / dense
        if share <= HALF:
            break
    return float(share)


def _check(output: Any, batch: int) -> None:
    if output.shape != (batch, CLASSES):
        raise ValueError(f"gives {tuple(output.shape)} for {batch} images")


def _classifiers(module: nn.Module) -> list[nn.Module]:
    """The layers that give the class scores."""
    return [
        part
        for part in module.modules()
        if CLASSES in (getattr(part, "out_features", None), getattr(part, "out_channels", None))
    ]


def _heads(module: nn.Module) -> dict[nn.Module, int]:
    """Attention modules with their head counts, where they name them."""
    found = {}
    for part in module.modules():
        for name in ("num_heads", "num_attention_heads"):
            number = getattr(part, name, None)
            if isinstance(number, int) and _projections(part):
                found[part] = number
    return found


def _projections(part: nn.Module) -> list[nn.Module]:
    layers = (getattr(part, name, None) for name in QUERY_KEY_VALUE)
    return [layer for layer in layers if isinstance(layer, (nn.Linear, nn.Conv2d))]


def _resize_heads(part: Any, numbers: dict[nn.Module, int]) -> None:
    """Tell a module its new head count and sizes, as the examples do by hand for the attention that they know."""
    first = _projections(part)[0]
    number, width = numbers[first], first.weight.shape[0]
    if getattr(part, "qkv", None) is first:
        width //= 3
    sizes = {
        "num_heads": number,
        "num_attention_heads": number,
        "head_dim": width // number,
        "attention_head_size": width // number,
        "attn_dim": width,
        "all_head_size": width,
    }
    for name, value in sizes.items():
        if isinstance(getattr(part, name, None), int):
            setattr(part, name, value)
