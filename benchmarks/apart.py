"""Rows that are measured in processes of their own, several at a time where that is asked for."""

from __future__ import annotations

import functools
import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

Row = dict[str, Any]


def rows_apart(
    measure: Callable[[Any], Row], cases: Sequence[Any], jobs: int, threads: int | None = None, fresh: bool = True
) -> Iterator[Row]:
    """Measure the cases in any order. `fresh`: a process for each, so that its peak memory is its own.

    A case that fails is told on stderr, and the others go on; then the program ends with code 1.
    """
    failed = 0
    with multiprocessing.get_context("spawn").Pool(
        jobs, _prepare, (threads,), maxtasksperchild=1 if fresh else None
    ) as pool:
        for row, error in pool.imap_unordered(functools.partial(_guarded, measure), cases):
            if row is not None:
                yield row
            else:
                failed += 1
                print(error, file=sys.stderr, flush=True)
    if failed:
        sys.exit(f"{failed} of {len(cases)} rows failed")


def name_of(device: torch.device) -> str:
    """`cpu`, or the product's name of a CUDA device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _prepare(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def _guarded(measure: Callable[[Any], Row], case: Any) -> tuple[Row | None, str]:
    try:
        return measure(case), ""
    except Exception:
        return None, f"{case}:\n{traceback.format_exc()}"
