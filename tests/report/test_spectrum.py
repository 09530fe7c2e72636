from __future__ import annotations

from edgeprune.report.spectrum import COLUMNS, ROWS, spectrum_lines
from edgeprune.spec.result import Spectrum


def test_the_highest_density_fills_its_column_and_a_thousandth_half() -> None:
    values = tuple(float(v) for v in range(COLUMNS))
    density = tuple(1.0 if v == 3 else 1e-3 if v == 40 else 0.0 for v in range(COLUMNS))
    lines = spectrum_lines(
        Spectrum(
            matrix="ggn",
            weights=1234,
            images=8,
            products=60,
            smallest=0.5,
            largest=62.0,
            values=values,
            density=density,
        )
    )
    assert lines[:2] == ["density of the Gauss-Newton matrix's eigenvalues", "(1,234 weights, 8 images, 60 products)"]
    rows = [line.ljust(9 + COLUMNS)[9:] for line in lines[3 : 3 + ROWS]]
    assert [row[3] for row in rows] == ["█"] * ROWS
    assert [row[40] for row in rows] == [" "] * (ROWS // 2) + ["█"] * (ROWS // 2)
    assert all(row[20] == " " for row in rows)
    assert max(map(len, lines)) <= 80
