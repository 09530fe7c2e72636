"""The ranges of activation quantizers, from the float network on the calibration images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.errors import EdgepruneError
from edgeprune.model.device import device_of
from edgeprune.model.traced import Traced
from edgeprune.quantization.fake import ActivationQuantizer, enable
from edgeprune.quantization.graph import QUANTIZERS
from edgeprune.quantization.ranges import HISTOGRAMS, Histogram, RangeMethod

STEPS = 255
"""From the smallest to the largest of eight bits' codes."""
See = Callable[[str, Tensor], None]


def calibrate(traced: Traced, batches: Iterable[Tensor], method: RangeMethod) -> None:
    """Set every range, in place; the network runs in float meanwhile, so that no range depends on another.

    Raises:
        EdgepruneError: no batch, or one that makes an activation infinite or NaN.
    """
    module = traced.module
    parts = {name: part for name, part in module.named_modules() if isinstance(part, ActivationQuantizer)}
    kept = [*batches] if method in HISTOGRAMS else batches
    enable(module, False)
    watch = _Extremes(method)
    count = _run(traced, kept, parts, watch.see)
    if not count:
        raise EdgepruneError("no calibration images. Give at least one batch.")
    for name, part in parts.items():
        lower, upper = watch.found[name]
        if not bool(lower.isfinite() & upper.isfinite()):
            tensor = name.removeprefix(f"{QUANTIZERS}.")
            raise EdgepruneError(f"the activation {tensor} is not finite on the calibration images. Check the weights.")
        part.set_range(lower, upper)
    if method in HISTOGRAMS:
        _narrow(traced, kept, parts, method)
    enable(module, True)


class _Extremes:
    """The smallest and largest value of each tensor, of all batches or as a moving average."""

    def __init__(self, method: RangeMethod) -> None:
        self.share = 0.01 if method == "ema" else None
        self.found: dict[str, tuple[Tensor, Tensor]] = {}

    def see(self, name: str, x: Tensor) -> None:
        now = torch.aminmax(x)
        before = self.found.get(name)
        if before is None:
            self.found[name] = (now.min, now.max)
        elif self.share is None:
            self.found[name] = (torch.minimum(before[0], now.min), torch.maximum(before[1], now.max))
        else:
            self.found[name] = (before[0].lerp(now.min, self.share), before[1].lerp(now.max, self.share))


def _narrow(
    traced: Traced, batches: Iterable[Tensor], parts: dict[str, ActivationQuantizer], method: RangeMethod
) -> None:
    """Replace each range by the one that the method finds on the tensor's histogram."""
    seen = {}
    for name, part in parts.items():
        lower, upper = float(part.lower), float(part.upper)
        if part.codes == "signed":  # symmetric
            lower, upper = -max(-lower, upper), max(-lower, upper)
        elif part.codes == "unsigned":
            lower = 0.0
        seen[name] = Histogram.over(min(lower, 0.0), max(upper, 0.0))
    _run(traced, batches, parts, lambda name, x: seen[name].add(x))
    for name, part in parts.items():
        lower, upper = HISTOGRAMS[method](seen[name], STEPS)
        part.set_range(torch.tensor(lower), torch.tensor(upper))


def _run(traced: Traced, batches: Iterable[Tensor], parts: dict[str, ActivationQuantizer], see: See) -> int:
    """Let a function see what every quantizer is given; returns the number of batches."""
    reference = next(traced.module.parameters())
    runner, count = _Watching(traced.module, parts, see), 0
    with torch.no_grad():
        for batch in batches:
            runner.run(batch.to(device=device_of(traced), dtype=reference.dtype))
            count += 1
    return count


class _Watching(fx.Interpreter):
    """Runs a graph, and shows the input of each quantizer."""

    def __init__(self, module: fx.GraphModule, parts: dict[str, ActivationQuantizer], see: See) -> None:
        super().__init__(module)
        self.parts, self.see = parts, see

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in self.parts:
            self.see(target, args[0])
        return super().call_module(target, args, kwargs)
