"""Methods at equal multiply-adds and equal fine-tuning: ResNet-20 on CIFAR-10, half of the multiply-adds.

    pip install torch-pruning torchvision
    python benchmarks/methods.py --data CIFAR_FOLDER --weights FILE [--epochs 3] [--seeds 3] [--quick] [--json FILE]

Widths are multiples of 8, as INT8 kernels want them, or any. The network is the option-A ResNet-20 with its shortcuts
written as 1x1 convolutions of zeros and ones (option B, whose channels every tool can follow): the same function, with
the same weights, in every row. Same images, same order of batches, same distillation from the dense network, BatchNorm
re-estimated first in every row; the best epoch is chosen on the validation images, and judged on the test images.
Multiply-adds are counted by edgeprune in every row.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from cutting import cut_channels
from record import Show, arguments, finish
from torch import Tensor, nn
from torch_pruning_peer import cut

from edgeprune.compact.sensitivity import MOST
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.model.batches import sample
from edgeprune.model.count import macs, params
from edgeprune.model.data import Data, load_data
from edgeprune.model.evaluate import accuracy
from edgeprune.model.networks.cifar_resnet import Block, CifarResNet
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.progress import silent
from edgeprune.pruning.methods import METHODS
from edgeprune.pruning.plan import prunable
from edgeprune.spec.methods import Curving
from edgeprune.spec.recipe import Source, Training
from edgeprune.train.batch_norm import reestimate
from edgeprune.train.fit import Plan, fit

LEFT = 0.5
METHODS_OF_OURS = ("hap", "magnitude")
MULTIPLES = {"multiples of 8": 8, "any width": 1}
OURS = tuple(f"{method}, {widths}" for widths in MULTIPLES for method in METHODS_OF_OURS)
PEERS = tuple(f"Torch-Pruning, {widths}" for widths in MULTIPLES)


class Projected(Block):
    """A block whose shortcut is a convolution: every second pixel, old channels in the middle of the new ones."""

    def __init__(self, block: Block) -> None:
        inputs, width = block.conv1.in_channels, block.conv1.out_channels
        super().__init__(inputs, width, block.stride)
        self.load_state_dict(block.state_dict())
        self.projection = nn.Conv2d(inputs, width, 1, block.stride, bias=False)
        with torch.no_grad():
            self.projection.weight.zero_()
            for channel in range(inputs):
                self.projection.weight[self.before + channel, channel] = 1

    def shortcut(self, x: Tensor) -> Tensor:
        projected: Tensor = self.projection(x)
        return projected


def network(weights: Path) -> nn.Module:
    """The dense network; its outputs are those of the option-A one."""
    torch.manual_seed(0)
    module = CifarResNet(3, 10, 3)
    load_weights(module, weights, "resnet20")
    module.eval()
    x = torch.randn(4, 3, 32, 32)
    before = module(x)
    for stage in (module.layer2, module.layer3):
        stage[0] = Projected(stage[0]).eval()
    assert torch.allclose(module(x), before, rtol=1e-4, atol=1e-5)
    return module


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as class folders")
    parser.add_argument("--weights", type=Path, required=True, help="of the ResNet-20 with option-A shortcuts")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    asked = parser.parse_args()
    seeds, epochs = (1, 1) if asked.quick else (asked.seeds, asked.epochs)
    tasks = [(how, seed, epochs, asked.data, asked.weights) for seed in range(seeds) for how in (*OURS, *PEERS)]
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        rows = pool.starmap(run, tasks, chunksize=1)
    summary = [_summary(how, [row for row in rows if row["method"] == how]) for how in (*OURS, *PEERS)]
    finish("methods at half the multiply-adds", [*rows, *summary], _shows(summary), asked.json)


def run(how: str, seed: int, epochs: int, folder: Path, weights: Path) -> dict[str, Any]:
    """Prune, fine-tune and judge."""
    torch.set_num_threads(1)
    data = load_data(Source(model="resnet20", data=str(folder)), 32)
    dense = trace(network(weights), (3, 32, 32))
    begin = time.perf_counter()
    thin = (
        _ours(how, dense, data, seed) if how in OURS else cut(network(weights), LEFT, MULTIPLES[how.partition(", ")[2]])
    )
    seconds = time.perf_counter() - begin
    x, _ = sample(data.train, data.preprocessing, 2048, seed)
    reestimate(thin, x.split(128))
    before = accuracy(thin.module, data.test, data.preprocessing).value
    training = Training()
    plan = Plan(
        name="fine-tuning", optimizer="sgd", epochs=epochs, batch_size=training.batch_size,
        learning_rate=training.learning_rate, warmup=training.warmup, momentum=training.momentum,
        weight_decay=training.weight_decay, distill=training.distill, temperature=training.temperature, seed=seed,
        augment=data.augment,
    )  # fmt: skip
    fitted = fit(thin, data, plan, dense, silent)
    after = accuracy(fitted.traced.module, data.test, data.preprocessing)
    return {
        "method": how,
        "seed": seed,
        "epochs": epochs,
        "MACs": macs(thin) / macs(dense),
        "params": params(thin) / params(dense),
        "cut s": seconds,
        "before tuning %": 100 * before,
        "accuracy %": 100 * after.value,
        "dense %": 100 * accuracy(dense.module, data.test, data.preprocessing).value,
    }


def _ours(how: str, dense: Traced, data: Data, seed: int) -> Traced:
    """As `edgeprune prune` does it, by its defaults."""
    ground, asked = prunable(dense), Curving()
    method, _, widths = how.partition(", ")
    found = None
    if method == "hap":
        x, y = sample(data.train, data.preprocessing, asked.images, seed)
        found = channel_traces(dense, ground.weights, x, y, Probing(asked.probes, seed=seed), silent)
    scored = METHODS[method](dense.module, ground.groups, found, "zero")
    x, _ = sample(data.train, data.preprocessing, MOST, seed)
    return cut_channels(dense, ground, scored, MULTIPLES[widths], LEFT, x, trained=True).traced


def _summary(how: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    right = [row["accuracy %"] for row in rows]
    return {
        "method": how,
        "seed": "mean",
        "MACs": statistics.mean(row["MACs"] for row in rows),
        "params": statistics.mean(row["params"] for row in rows),
        "before tuning %": statistics.mean(row["before tuning %"] for row in rows),
        "accuracy %": statistics.mean(right),
        "standard error": statistics.stdev(right) / len(right) ** 0.5 if len(right) > 1 else None,
        "dense %": rows[0]["dense %"],
    }


def _shows(summary: list[dict[str, Any]]) -> list[Show]:
    """On three seeds or more, at the same widths: HAP against magnitude, and both against the peer."""
    right = {row["method"]: row["accuracy %"] for row in summary}
    error = {row["method"]: row["standard error"] for row in summary}
    shows = []
    for widths in MULTIPLES:
        hap, magnitude = (f"{method}, {widths}" for method in METHODS_OF_OURS)
        if error[magnitude] is None:
            return []
        doubt = (error[hap] ** 2 + error[magnitude] ** 2) ** 0.5
        ahead = right[hap] - right[magnitude]
        shows.append(
            Show("curvature", 4, ahead, f"{widths}: hap at least {-doubt:.2f} points from magnitude", ahead >= -doubt)
        )
        for ours in (hap, magnitude):
            ahead = right[ours] - right[f"Torch-Pruning, {widths}"]
            shows.append(Show("curvature", 4, ahead, f"{ours}: at least 0 points from Torch-Pruning's", ahead >= 0))
    return shows


if __name__ == "__main__":
    main()
