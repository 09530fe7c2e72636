"""The density of curvature's eigenvalues as a plot of text, which a terminal and a Markdown file show alike."""

from __future__ import annotations

import math

from edgeprune.spec.result import Spectrum

COLUMNS, ROWS, DECADES = 64, 8, 6
EIGHTHS = " ▁▂▃▄▅▆▇█"


def spectrum_lines(spectrum: Spectrum) -> list[str]:
    """Return a title, the plot on a logarithmic scale of six decades, its axis, and how to read it."""
    name = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}[spectrum.matrix]
    heights = _columns(spectrum)
    top = max(heights)
    filled = [max(0.0, 1 + math.log10(height / top) / DECADES) if height > 0 else 0.0 for height in heights]
    rows = []
    for row in range(ROWS - 1, -1, -1):
        cells = [EIGHTHS[min(8, max(0, round(8 * (share * ROWS - row))))] for share in filled]
        label = f"{top * 10 ** (-DECADES * (1 - (row + 1) / ROWS)):8.1e} "
        rows.append((label + "".join(cells)).rstrip())
    left, right = f"{spectrum.values[0]:.3g}", f"{spectrum.values[-1]:.3g}"
    axis = " " * 9 + left + right.rjust(COLUMNS - len(left))
    return [
        f"density of the {name}'s eigenvalues",
        f"({spectrum.weights:,} weights, {spectrum.images} images, {spectrum.products} products)",
        "",
        *rows,
        axis,
        f"seen between {spectrum.smallest:.3g} and {spectrum.largest:.3g}",
    ]


def _columns(spectrum: Spectrum) -> list[float]:
    """The highest density in each column."""
    low, high = spectrum.values[0], spectrum.values[-1]
    found = [0.0] * COLUMNS
    for value, height in zip(spectrum.values, spectrum.density, strict=True):
        column = min(COLUMNS - 1, int(COLUMNS * (value - low) / (high - low)))
        found[column] = max(found[column], height)
    return found
