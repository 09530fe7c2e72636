"""Inspection: what can be cut from a network, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GroupFacts:
    """Channels that go together: `units` of them, each `width` channels of every layer in `layers`."""

    name: str
    units: int
    width: int
    layers: tuple[str, ...]
    """Whose output channels these are."""
    members: tuple[str, ...]
    """Every axis that is cut along, as `conv1.weight[0]`."""
    narrowest: int
    """Units that must stay, by the channel multiple and the largest share that may go."""


@dataclass(frozen=True)
class LayerFacts:
    """A layer with weights. `group`: of its output channels; None where they are never cut."""

    name: str
    kind: str
    shape: tuple[int, ...]
    macs: int
    params: int
    """Biases included."""
    group: str | None


@dataclass(frozen=True)
class Inspection:
    """A network, read off its exported graph."""

    model: str
    input_shape: tuple[int, ...]
    target: str | None
    channel_multiple: int
    macs: int
    other_macs: int
    """Of products between activations, as an attention's scores."""
    params: int
    other_params: int
    """Of no layer in `layers`: norms, positions, scales."""
    macs_in_groups: float
    """Share of the multiply-adds at channels that can be cut."""
    params_in_groups: float
    whole: dict[str, float]
    """Limit name -> what the whole network has of it, as a budget counts it."""
    smallest: dict[str, float]
    """The same of the narrowest network that can be reached."""
    latency_from: str | None
    groups: tuple[GroupFacts, ...]
    layers: tuple[LayerFacts, ...]
    frozen: dict[str, str]
    """Layer or node -> why its channels are never cut."""
    approximate: dict[str, str]
    """Node -> the statistic over channels that a cut changes."""
