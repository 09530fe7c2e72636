"""Traces of channels: edgeprune against PyHessian 0.1, and half precision against single.

    pip install pyhessian==0.1
    python benchmarks/curvature.py --data CIFAR_FOLDER --resnet20 FILE [--resnet56 FILE] [--quick] [--json FILE]

For ResNets with trained weights and a small vision transformer that is trained on the digits first:
- seconds for equal probes, in turn in one process, and the peak memory of each in a process of its own;
- seconds until the order of channels is right: Spearman correlation of HAP scores, and the share of the cut at 50 %,
  with a reference: the traces themselves where the network is piecewise linear, else 3,000 probes of another seed;
- EHAP (half precision: bfloat16 on CPUs) and EHAP as its authors released it, against the same reference.

Networks that the record has already are not measured again.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from digits import digits_transformer
from ranking import Samples, as_released, by_products, exact_traces, importance, overlap, scores, spearman
from record import Show, arguments, finish, known_rows, save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgeprune.curvature.matrix import Matrix
from edgeprune.curvature.probing import Probing
from edgeprune.curvature.trace import channel_traces
from edgeprune.model.batches import sample
from edgeprune.model.data import load_data
from edgeprune.model.networks import NETWORKS
from edgeprune.model.traced import Traced, trace
from edgeprune.model.weights import load_weights
from edgeprune.progress import silent
from edgeprune.spec.recipe import Source

WANTED, REFERENCE, ROUNDS = 0.95, 3000, 3
PROBES = {"resnet20": 80, "resnet56": 20, "vit": 300}
"""Of PyHessian and of products, at most, until the order is right."""
VIT_IMAGES = 128
OF_TRACES = {"resnet20": 300, "resnet56": 60, "vit": 300}
"""Of the traces: the papers' number, where that does not take an hour."""


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as class folders")
    parser.add_argument("--resnet20", type=Path, required=True)
    parser.add_argument("--resnet56", type=Path)
    parser.add_argument("--memory", help=argparse_hidden())
    asked = parser.parse_args()
    if asked.memory:
        print(json.dumps(_peak(asked)))
        return
    names = ["resnet20", "vit"] + (["resnet56"] if asked.resnet56 and not asked.quick else [])
    rows, shows, known = [], list[Show](), _known(asked)
    for name in names:
        found = known.get(name) or _network(name, asked)
        rows += found
        figures = found[-1]["figures"]
        if name == "resnet20":
            shows = _shows(figures)
        if asked.json:
            save("curvature", rows, shows, asked.json)
    finish("curvature", rows, shows, asked.json)


def _known(asked: Any) -> dict[str, list[dict[str, Any]]]:
    """The networks whose rows are in the record: they are not measured again."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in known_rows(asked):
        found.setdefault(row["network"], []).append(row)
    return found


def argparse_hidden() -> str:
    import argparse

    return argparse.SUPPRESS


def problem(name: str, asked: Any) -> tuple[nn.Module, Traced, dict[str, int], Tensor, Tensor]:
    """A trained network as module and as graph, its weights, images and labels (512; for the ViT, whose reference has
    no shorter way than products, 128).
    """
    if name == "vit":
        module, data = digits_transformer()
        x, y = sample(data.train, data.preprocessing, VIT_IMAGES, 0)
        return _prepared(module, (1, 32, 32), x, y)
    data = load_data(Source(model=name, data=str(asked.data)), 32)
    module = NETWORKS[name].build(10, 3)
    load_weights(module, getattr(asked, name), name)
    x, y = sample(data.train, data.preprocessing, 512, 0)
    return _prepared(module, (3, 32, 32), x, y)


def _prepared(
    module: nn.Module, shape: tuple[int, ...], x: Tensor, y: Tensor
) -> tuple[nn.Module, Traced, dict[str, int], Tensor, Tensor]:
    traced = trace(module.eval(), shape)
    weights = {n: 0 for n, p in traced.module.named_parameters() if p.dim() in (2, 4) and n.endswith("weight")}
    return module, traced, weights, x, y


class Peer:
    """PyHessian on one batch. Its graph keeps `.grad` with a history, of which torch warns; all else is its own."""

    def __init__(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        from pyhessian import hessian

        warnings.simplefilter("ignore")
        module.zero_grad()
        # torch's fast attention has no second derivative, which PyHessian does not know.
        with sdpa_kernel(SDPBackend.MATH):
            self.held = hessian(module, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        self.names = [name for name, _ in module.named_parameters()]

    def trace(self, probes: int) -> list[float]:
        """Its own trace of the whole network."""
        return list(self.held.trace(maxIter=probes, tol=0.0))

    def sample(self, weights: dict[str, int]) -> dict[str, Tensor]:
        """One probe by its own product; the products' share of each channel."""
        from pyhessian.utils import hessian_vector_product

        v = [torch.randint_like(p, high=2) * 2 - 1 for p in self.held.params]
        hv = hessian_vector_product(self.held.gradsH, self.held.params, v)
        each = {n: (a * b).detach() for n, a, b in zip(self.names, v, hv, strict=True) if n in weights}
        return {name: each[name].flatten(1).sum(1).double() for name in weights}


def _network(name: str, asked: Any) -> list[dict[str, Any]]:
    module, traced, weights, x, y = problem(name, asked)
    weight = importance(traced.module, weights)
    single = Probing(probes=8, batch_size=128, memory_mb=4000)
    rows: list[dict[str, Any]] = []
    figures = _equal_probes(module, traced, weights, x, y, single)
    figures |= {f"memory {who}": _peak_of(name, who, asked) for who in ("peer", "traces", "products", "half")}
    linear = channel_traces(traced, weights, x[:8], y[:8], replace(single, probes=2), silent).effort
    assert linear is not None
    if linear.by_products:
        print(f"{name}: reference of {REFERENCE} probes", file=sys.stderr)
        reference = scores(by_products(Matrix(traced, [*weights], x, y, single), weights, range(REFERENCE), 99), weight)
    else:
        reference = scores(exact_traces(traced, weights, x), weight)
    most = PROBES[name] // (4 if asked.quick else 1)
    runs = {"PyHessian": _peer_run(module, weights, x, y, most)}
    for label, precision in (("products", "fp32"), ("products, half", "half")):
        runs[label] = _products_run(traced, weights, x, y, replace(single, precision=precision), most)
    for label, precision in (("traces", "fp32"), ("traces, half", "half")):
        runs[label] = _traces_run(traced, weights, x, y, replace(single, precision=precision, probes=OF_TRACES[name]))
    half = runs["products, half"]
    runs["ehap-as-released"] = (as_released(half[0]), half[1])
    for label, (samples, seconds) in runs.items():
        count = len(seconds)
        reached = next((k for k in range(1, count + 1) if _steady(samples, weight, reference, k)), None)
        figures[f"to {WANTED} {label}"] = seconds[reached - 1] if reached else float("inf")
        figures[f"spent {label}"] = seconds[-1]
        rows.append(
            {
                "network": name,
                "way": label,
                "probes": count,
                "seconds": seconds[-1],
                "Spearman": spearman(scores(samples, weight), reference),
                "overlap": overlap(scores(samples, weight), reference),
                f"probes to {WANTED}": reached,
                f"seconds to {WANTED}": seconds[reached - 1] if reached else None,
            }
        )
    alike = [spearman(scores(runs[a][0], weight), scores(runs[b][0], weight)) for a, b in ALIKE]
    figures |= {"half against single": min(alike)}
    rows.append({"network": name, "way": "all", "figures": figures, "Spearman": min(alike)})
    for key, value in figures.items():
        print(f"{name}: {key}: {value:.4g}", file=sys.stderr)
    return rows


ALIKE = (("products", "products, half"), ("traces", "traces, half"))


def _steady(samples: Samples, weight: Tensor, reference: Tensor, probes: int) -> bool:
    """Whether the overlap is as wanted after these probes and after each of the next three."""
    most = len(next(iter(samples.values())))
    after = range(probes, min(probes + 4, most + 1))
    return all(overlap(scores(samples, weight, k), reference) >= WANTED for k in after)


def _equal_probes(
    module: nn.Module, traced: Traced, weights: dict[str, int], x: Tensor, y: Tensor, single: Probing
) -> dict[str, float]:
    """Seconds per probe, graphs included, of 8 probes; rounds in turn, the middle of each."""
    peer, half = Peer(module, x, y), replace(single, precision="half")
    matrices = {p.precision: Matrix(traced, [*weights], x, y, p) for p in (single, half)}

    def products(probing: Probing) -> None:
        by_products(matrices[probing.precision], weights, range(single.probes), 0)

    ways = {
        "peer": lambda: peer.trace(single.probes),
        "products": lambda: products(single),
        "products, half": lambda: products(half),
        "traces": lambda: channel_traces(traced, weights, x, y, single, silent),
        "traces, half": lambda: channel_traces(traced, weights, x, y, half, silent),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, work in ways.items():
            begin = time.perf_counter()
            work()
            if round_:  # the first one warms up
                taken[name].append((time.perf_counter() - begin) / single.probes)
    middle = {name: sorted(seconds)[len(seconds) // 2] for name, seconds in taken.items()}
    return {f"seconds per probe, {name}": seconds for name, seconds in middle.items()} | {
        f"of PyHessian's, {name}": seconds / middle["peer"] for name, seconds in middle.items() if name != "peer"
    }


def _peer_run(
    module: nn.Module, weights: dict[str, int], x: Tensor, y: Tensor, most: int
) -> tuple[Samples, list[float]]:
    begin = time.perf_counter()
    peer = Peer(module, x, y)
    found, seconds = [], []
    for _ in range(most):
        found.append(peer.sample(weights))
        seconds.append(time.perf_counter() - begin)
    return {name: torch.stack([one[name] for one in found]) for name in weights}, seconds


def _products_run(
    traced: Traced, weights: dict[str, int], x: Tensor, y: Tensor, probing: Probing, most: int
) -> tuple[Samples, list[float]]:
    begin, seconds = time.perf_counter(), list[float]()
    matrix = Matrix(traced, [*weights], x, y, probing)
    found = by_products(matrix, weights, range(most), 0, lambda: seconds.append(time.perf_counter() - begin))
    return found, seconds


def _traces_run(
    traced: Traced, weights: dict[str, int], x: Tensor, y: Tensor, probing: Probing
) -> tuple[Samples, list[float]]:
    """Rounds of 1, 1, 2, 4 ... probes, each a call of its own: graphs are built again, as is counted."""
    begin, seconds, found = time.perf_counter(), list[float](), None
    for count in (1, 2, 4, 8, 16, 32, 64, 128, probing.probes):
        before = len(seconds)
        found = channel_traces(traced, weights, x, y, replace(probing, probes=count), silent, begun=found)
        done = time.perf_counter() - begin
        seconds += [done] * (count - before)
    assert found is not None
    return found.per_probe, seconds


def _peak_of(name: str, who: str, asked: Any) -> float:
    command = [sys.executable, __file__, "--memory", f"{name}:{who}", "--data", str(asked.data)]
    command += ["--resnet20", str(asked.resnet20)] + (["--resnet56", str(asked.resnet56)] if asked.resnet56 else [])
    return float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def _peak(asked: Any) -> float:
    """GB that a way adds at its peak, in a process of its own."""
    name, who = asked.memory.split(":")
    module, traced, weights, x, y = problem(name, asked)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is what is held now
    before = _resident("VmRSS")
    probing = Probing(probes=2, batch_size=128, memory_mb=4000, precision="half" if who == "half" else "fp32")
    if who == "peer":
        Peer(module, x, y).trace(2)
    elif who == "traces":
        channel_traces(traced, weights, x, y, probing, silent)
    else:
        by_products(Matrix(traced, [*weights], x, y, probing), weights, range(2), 0)
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    """Memory of this process as Linux counts it, GB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e9


def _shows(figures: dict[str, float]) -> list[Show]:
    """What must hold on the ResNet-20; where PyHessian did not reach the order, all its seconds count as its own."""
    ratio = figures["of PyHessian's, traces"]
    peer = min(figures[f"to {WANTED} PyHessian"], figures["spent PyHessian"])
    order = figures[f"to {WANTED} traces"] / peer
    memory = max(figures["memory traces"], figures["memory products"]) / figures["memory peer"]
    return [
        Show("curvature", 2, ratio, "at most 0.55 of PyHessian's seconds at equal probes", ratio <= 0.55),
        Show("curvature", 2, order, "at most 0.33 of PyHessian's seconds to the order", order <= 0.33),
        Show("curvature", 2, memory, "peak memory at most PyHessian's", memory <= 1),
        Show(
            "curvature", 3, figures["half against single"], "Spearman of half with single precision at least 0.99",
            figures["half against single"] >= 0.99,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
