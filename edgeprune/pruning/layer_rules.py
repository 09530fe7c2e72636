"""Rules for layers by name patterns: of those that match a layer, the first counts."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from edgeprune.model.traced import Traced
from edgeprune.spec.recipe import LayerRule

SHOWN = 5


def ordered(keep: Sequence[str], rules: Sequence[LayerRule]) -> tuple[LayerRule, ...]:
    """All rules: `keep` is short for rules that go before the others."""
    return (*(LayerRule(pattern=pattern, keep=True) for pattern in keep), *rules)


def rule_of(layer: str, rules: Sequence[LayerRule]) -> LayerRule | None:
    return next((rule for rule in rules if fnmatchcase(layer, rule.pattern)), None)


def owner(parameter: str) -> str:
    """The layer that a parameter belongs to."""
    return parameter.rpartition(".")[0]


def kept_layers(traced: Traced, rules: Sequence[LayerRule]) -> tuple[str, ...]:
    """Patterns that match exactly the layers that are never cut."""
    if not any(rule.keep for rule in rules):
        return ()
    names = dict.fromkeys(owner(name) for name, _ in traced.module.named_parameters())
    return tuple(glob.escape(name) for name in names if (rule := rule_of(name, rules)) is not None and rule.keep)


def near(pattern: str, layers: Sequence[str]) -> str:
    """Name the layers that the pattern may have meant."""
    bare = pattern.strip("*?")
    close = get_close_matches(bare, layers, SHOWN, 0.5) or [layer for layer in layers if bare and bare in layer]
    if close:
        return f"Near it: {', '.join(close[:SHOWN])}."
    more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
    return f"The layers: {', '.join(layers[:SHOWN])}{more}."
