"""What calibration images alone can mend after rounding: weights rounded to fit, and biases corrected.

Layer by layer, from the first one on: each is fitted to its float output, on the inputs that the INT8 network gives it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.model.attributes import attribute
from edgeprune.model.device import device_of
from edgeprune.model.traced import Traced
from edgeprune.progress import Tick, silent
from edgeprune.quantization.both import Both, run
from edgeprune.quantization.fake import WeightQuantizer
from edgeprune.quantization.graph import is_quantizer, unrounded
from edgeprune.quantization.keeps import packet
from edgeprune.quantization.place import Runtime, is_layer

ATEN = torch.ops.aten
RATE, BATCH = 1e-2, 32
HARD = 0.01
"""Weight of the regulariser that makes every weight choose, as in the paper's released experiments."""
WARM, FIRST_POWER, LAST_POWER = 0.2, 20.0, 2.0
LOW, HIGH = -0.1, 1.1
"""Between which the sigmoid is stretched, so that it reaches 0 and 1 (Louizos et al. 2018)."""


def refine(traced: Traced, x: Tensor, runtime: Runtime, rounding_steps: int, biases: bool, tick: Tick = silent) -> None:
    """Round the weights of each layer to fit, and correct its bias, in place, on images `[n, ...]`.

    Args:
        traced: a network with quantizers, calibrated.
        x: images; all are alive at one node at a time.
        runtime: whose layers.
        rounding_steps: of Adam for each layer (AdaRound); 0: weights are rounded to the nearest.
        biases: whether to correct them.
        tick: told how far it is.
    """
    module, done = traced.module, set[str]()
    layers = [node for node in module.graph.nodes if is_layer(node, runtime) and is_quantizer(node.args[1])]

    def see(node: fx.Node, wanted: Tensor, got: Tensor) -> Tensor | None:
        if node not in layers:
            return None
        tick("fitting layers", layers.index(node), len(layers))
        name = str(unrounded(node.args[1]).target)
        if name in done:  # a weight that is used again is fitted where it is used first
            return None
        done.add(name)
        arguments = both.inputs(node)
        if rounding_steps:
            _round_to_fit(module, node, arguments, wanted, rounding_steps)
            arguments = (arguments[0], attribute(module, name).detach(), *arguments[2:])
            got = run(node, arguments, node.kwargs)
        return _corrected(module, node, wanted, got) if biases else got

    both = Both(module, see)
    with torch.no_grad():
        both.run_on(x.to(device_of(traced)))
    tick("fitting layers", 1, 1)


def _corrected(module: fx.GraphModule, node: fx.Node, wanted: Tensor, got: Tensor) -> Tensor:
    """Shift a layer's bias by the mean error of each output channel (Nagel et al. 2019, arXiv 1906.04721, section 4.2)."""  # noqa: E501
    bias = node.args[2] if len(node.args) > 2 else None
    if not isinstance(bias, fx.Node):
        return got
    axis = got.dim() - 1 if packet(node) == ATEN.linear else 1
    error = (wanted - got).mean([d for d in range(got.dim()) if d != axis])
    attribute(module, str(unrounded(bias).target)).add_(error)
    shape = [1] * got.dim()
    shape[axis] = -1
    return got + error.view(shape)


def _round_to_fit(
    module: fx.GraphModule, node: fx.Node, arguments: tuple[Any, ...], wanted: Tensor, steps: int
) -> None:
    """Choose for each weight the integer below or above (AdaRound; Nagel et al. 2020, arXiv 2004.10568, eqs. 21-25).

    A weight that is zero stays so: patterns hold.
    """
    weight = attribute(module, str(unrounded(node.args[1]).target))
    quantizer = module.get_submodule(str(node.args[1].target))  # type: ignore[union-attr]
    assert isinstance(quantizer, WeightQuantizer)
    quantizer.hold_scale(quantizer.scale(weight), learned=False)
    scale = quantizer.scale(weight).view(quantizer.shape(weight))
    below = (weight / scale).floor()
    rest = (weight / scale - below).clamp(1e-4, 1 - 1e-4)
    choice = -torch.log((HIGH - LOW) / (rest - LOW) - 1)
    fixed = weight == 0
    x, others = arguments[0], arguments[2:]
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        choice.requires_grad_()
        adam = torch.optim.Adam([choice], lr=RATE)
        for step in range(steps):
            rows = torch.randint(len(x), (min(BATCH, len(x)),), generator=generator).to(x.device)
            up = (torch.sigmoid(choice) * (HIGH - LOW) + LOW).clamp(0, 1)
            codes = (below + up).clamp(-quantizer.levels, quantizer.levels).masked_fill(fixed, 0)
            made = run(node, (x[rows], codes * scale, *others), node.kwargs)
            loss = (made - wanted[rows]).square().flatten(1).sum(1).mean()
            if step >= WARM * steps:
                share = (step / steps - WARM) / (1 - WARM)
                power = FIRST_POWER + (LAST_POWER - FIRST_POWER) * share
                loss = loss + HARD * (1 - (2 * up - 1).abs().pow(power)).sum()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
    chosen = (below + (torch.sigmoid(choice.detach()) >= 0.5)).clamp(-quantizer.levels, quantizer.levels)
    weight.copy_(chosen.masked_fill(fixed, 0) * scale)
