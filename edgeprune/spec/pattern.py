"""Pattern: the form in which weights are pruned.

`channel`       whole channels, which are then cut out: the network gets smaller
`N:M`           of every M consecutive input channels, at each output channel and kernel position, N weights stay
`1xN`           blocks: N consecutive output channels lose the kernel of one input channel together
`unstructured`  any weight

All but the first are *mask patterns*: weights become zero and stay where they are. Blocks are those of Lin et al., "1xN
Pattern for Pruning Convolutional Neural Networks" (arXiv:2105.14713): the whole kernel of an input channel, in N output
channels. One index then serves N kernels, which is what block-sparse storage needs, and for 1x1 convolutions and linear
layers it is the vector of N weights that block-sparse matrix kernels take.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeprune.errors import EdgepruneError
from edgeprune.spec.target import Target

FORMS = "channel, N:M as 2:4 or 1:4, 1xN as 1x4, or unstructured"
RUNTIMES = {"onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}
HALF = 0.5
"""Share of zeros where a pattern needs a share and none is asked for."""


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern. `kept` and `group`: N and M of N:M. `rows`: N of 1xN."""

    kind: Literal["channel", "n:m", "blocks", "unstructured"]
    kept: int = 0
    group: int = 0
    rows: int = 1

    def __str__(self) -> str:
        return {"n:m": f"{self.kept}:{self.group}", "blocks": f"1x{self.rows}"}.get(self.kind, self.kind)

    @property
    def masks(self) -> bool:
        """Whether weights become zero where they are, instead of channels going."""
        return self.kind != "channel"


def parse_pattern(text: str) -> Pattern:
    """Read a pattern as the command line takes it.

    Raises:
        EdgepruneError: no such pattern; the text says which there are.
    """
    if text in ("channel", "unstructured"):
        return Pattern(text)  # type: ignore[arg-type]
    if found := re.fullmatch(r"(\d{1,3}):(\d{1,3})", text):
        kept, group = int(found[1]), int(found[2])
        if not 0 < kept < group:
            raise EdgepruneError(
                f"pattern {text!r}: N:M keeps N of every M weights, so N must be less than M. Try 2:4."
            )
        return Pattern("n:m", kept=kept, group=group)
    if found := re.fullmatch(r"1x(\d{1,3})", text):
        rows = int(found[1])
        if rows < 2:
            raise EdgepruneError(f"pattern {text!r}: a block has at least two output channels. Try 1x4.")
        return Pattern("blocks", rows=rows)
    raise EdgepruneError(f"unknown pattern {text!r}. Known: {FORMS}.")


def zeros_asked(pattern: Pattern, budgets: Mapping[str, float]) -> float:
    """The share of zeros that a mask pattern and the budgets beside it (kind -> value) ask for.

    Raises:
        EdgepruneError: a budget that does not fit the pattern.
    """
    assert pattern.masks
    others = [kind for kind in budgets if kind != "sparsity"]
    if others:
        raise EdgepruneError(
            f"pattern {pattern}: masked weights stay where they are, so a budget of {others[0]} says nothing. "
            + (f"Leave it out: {pattern} says how many weights go." if pattern.kind == "n:m" else "Give a sparsity.")
        )
    asked = budgets.get("sparsity")
    if pattern.kind != "n:m":
        return HALF if asked is None else asked
    follows = 1 - pattern.kept / pattern.group
    if asked is not None and abs(asked - follows) > 1e-9:
        raise EdgepruneError(
            f"pattern {pattern}: its sparsity is {follows:g}, so {asked:g} cannot be asked. Leave the sparsity out."
        )
    return follows


def check_alone(pattern: Pattern, others: Mapping[str, bool]) -> None:
    """Refuse settings on channels (name -> whether it is asked for) beside a mask pattern, which cuts none.

    Raises:
        EdgepruneError: one is asked for.
    """
    asked = [name for name, given in others.items() if given]
    if asked:
        raise EdgepruneError(f"{asked[0]} is about channels, and pattern {pattern} cuts none. Leave one of them out.")


def no_speed(pattern: Pattern, target: Target) -> str | None:
    """What a pattern will not bring on a target, as one line; None where it can bring speed."""
    sparse = target.sparsity.value if target.sparsity is not None else None
    if not pattern.masks or sparse == str(pattern):
        return None
    if sparse is None:
        return (
            f"pattern {pattern} brings no speed on {target.name}: {RUNTIMES[target.runtime]} has no sparse kernels "
            "there, a zero costs what any weight costs"
        )
    if _within_two_of_four(pattern):
        return f"pattern {pattern} brings no more speed than {sparse} on {target.name}: its sparse kernels are for that"
    return f"pattern {pattern} brings no speed on {target.name}: its sparse kernels are for {sparse} only"


def _within_two_of_four(pattern: Pattern) -> bool:
    """Whether such weights have at most two of every four, too."""
    if pattern.group == 2:
        return True
    return pattern.kind == "n:m" and pattern.group % 4 == 0 and pattern.kept <= 2
