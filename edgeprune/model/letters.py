"""An einsum's letters, read."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters


def spelled_out(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The operands' letters and the output's, a letter for each axis.

    `ranks`: of the operands. An ellipsis becomes letters of its own, those of the last axes alike in every term;
    without an arrow the output is what numpy's implicit mode says: the letters that occur once, in order.
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        single = "".join(sorted(letter for letter in left if letter.isalpha() and left.count(letter) == 1))
        out = ("..." if "..." in left else "") + single
    fresh = [letter for letter in ascii_letters if letter not in equation]
    spread = [rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=True) if "..." in term]
    most = max(spread, default=0)
    shared = "".join(fresh[:most])
    laid = [
        term.replace("...", shared[most - (rank - len(term) + 3) :]) for term, rank in zip(terms, ranks, strict=True)
    ]
    return laid, out.replace("...", shared)


def contracted_axes(equation: str, ranks: Sequence[int]) -> list[tuple[int, int]]:
    """The axes of both factors that a product of two sums over; a letter of one alone is summed before.

    None where there is nothing to sum over both: that is no contraction, as a product element by element is not.
    """
    terms, out = spelled_out(equation, ranks)
    if len(terms) != 2:
        return []
    first, second = terms
    return [(first.index(c), second.index(c)) for c in dict.fromkeys(first) if c in second and c not in out]
