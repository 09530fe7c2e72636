"""How far the calibration images have come through a network.

A front stands before a node of the graph and holds, per batch of images, the values that this node or later ones read.
It moves forward only: every node is run once for all images, whatever the number of layers that look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from edgeprune.reconstruction.part import part
from edgeprune.reconstruction.store import Store


class Front:
    """The front of a network, at its input first.

    Args:
        name: tells its values from those of other fronts in the store.
        module: the network. What has been passed is not run again when a parameter changes.
        batches: images `[n, ...]`.
        store: where values are kept.
        device: where they are computed.
    """

    def __init__(
        self, name: str, module: fx.GraphModule, batches: Sequence[Tensor], store: Store, device: torch.device
    ) -> None:
        self._name, self._module, self._store, self._device = name, module, store, device
        self._order: list[fx.Node] = [node for node in module.graph.nodes if node.op not in ("get_attr", "output")]
        self._place = {node: place for place, node in enumerate(self._order)}
        self._last_read = {
            node: max((self._place.get(user, len(self._order)) for user in node.users), default=-1)
            for node in self._order
        }
        self._at = 1
        self.batches = len(batches)
        assert self._order[0].op == "placeholder"
        for number, x in enumerate(batches):
            store.put(self._key(number), {self._order[0].name: x})

    def advance(self, to: fx.Node) -> None:
        """Run all nodes before this one."""
        end = self._place[to]
        assert end >= self._at, "a front moves forward only"
        nodes, before = self._order[self._at : end], self._live(self._at)
        self._at = end
        if not nodes:
            return
        after = set(self._live(end))
        made = [node for node in nodes if node in after]
        segment = part(self._module, nodes, made)
        names = [node.name for node in made]
        carried = [node.name for node in before if node in after]
        for number in range(self.batches):
            values = self._store.get(self._key(number), self._device)
            with torch.no_grad():
                found = segment((), [values[name] for name in segment.inputs])
            kept = {name: values[name] for name in carried} | dict(zip(names, found, strict=True))
            self._store.put(self._key(number), kept)

    def node(self, name: str) -> fx.Node:
        """The network's node of that name."""
        (found,) = [node for node in self._order if node.name == name]
        return found

    def after(self) -> list[fx.Node]:
        """The nodes that are still to be run, in graph order."""
        return self._order[self._at :]

    def read(self, number: int) -> dict[str, Any]:
        """Node name -> value, of one batch."""
        return self._store.get(self._key(number), self._device)

    def _live(self, at: int) -> list[fx.Node]:
        """What lies before a place and is read there or later."""
        return [node for node in self._order[:at] if self._last_read[node] >= at]

    def _key(self, number: int) -> str:
        return f"{self._name}-{number}"
