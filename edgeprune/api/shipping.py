"""A pruned network read back, quantized and written as a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from edgeprune.api.modules import one_tensor, traced_of
from edgeprune.model.traced import load as read
from edgeprune.pipeline.ship import Shipping, ship
from edgeprune.quantization.qat import Scheme, prepare
from edgeprune.spec.bundle import Bundle
from edgeprune.spec.target import load_target
from edgeprune.train.network import Network


def load(path: str | Path) -> Network:
    """Read a `.pt2` that `Network.save` or `torch.export.save` wrote, to train it on or to go on with.

    Masks are no part of the file: a network pruned to a pattern has its zeros, but `hold` does not know them.

    Raises:
        EdgepruneError: no `.pt2` of one image tensor.
    """
    return Network.of(read(Path(path)))


def quantize(
    module: nn.Module, example_inputs: Tensor | tuple[Tensor], calibration: Iterable[Tensor], target: str
) -> Network:
    """Fold BatchNorm and put fake quantizers in, as the target's runtime wants them.

    Args:
        module: the trained network; it is not changed.
        example_inputs: a float tensor `[batch, ...]`.
        calibration: batches of images that set the ranges.
        target: a name of `edgeprune targets`, or a `.toml` file.

    Returns:
        a trainable module whose outputs are those of the INT8 network; in training mode the ranges follow the data.
    """
    prepared = prepare(traced_of(module, one_tensor(example_inputs)), Scheme.of(load_target(target)), calibration)
    return Network.of(prepared, *_masks(module))


def export(
    module: nn.Module,
    example_inputs: Tensor | tuple[Tensor],
    folder: str | Path,
    target: str,
    *,
    labels: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
) -> Bundle:
    """Write a bundle for a target from a network, INT8 where it comes from `quantize`.

    Args:
        module: the network to ship.
        example_inputs: images `[n, C, S, S]` as the network takes them; they become the golden inputs.
        folder: where; one that stands there is replaced.
        target: a name of `edgeprune targets`, or a `.toml` file.
        labels: class names, in the order of the outputs.
        mean: per channel, of pixels in 0..1, as used for `example_inputs`.
        std: likewise.
    """
    shipping = Shipping(load_target(target), tuple(labels), tuple(mean), tuple(std), *_masks(module))
    example = one_tensor(example_inputs)
    return ship(traced_of(module, example), example, Path(folder), shipping)


def _masks(module: nn.Module) -> tuple[str, dict[str, Tensor]]:
    """The pattern of a network that `prune` returned, and the weights that it keeps."""
    return (module.pattern, module.kept) if isinstance(module, Network) else ("channel", {})
