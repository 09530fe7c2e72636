"""Text for people: what it says, and that it fits."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console, RenderableType

from edgeprune.report import figures
from edgeprune.report.catalogue import list_table, target_table
from edgeprune.report.compare import Comparison, compare_profiles, compare_result
from edgeprune.report.profile_lines import profile_table
from edgeprune.report.render import markdown, table, to_json
from edgeprune.spec.target import known_targets, load_target


def drawn(renderable: RenderableType, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(renderable)
    return stream.getvalue()


def test_the_summary_names_every_figure(result):
    text = drawn(table(compare_result(result)))
    for figure in ("92.31 ± 0.27", "40.8 M", "270 k", "1.09 MB", "0.829", "4.14x", "99.8", "* latency was"):
        assert figure in text


def test_the_summary_fits_80_columns_with_the_largest_figures(result):
    large = result.dense.model_copy(
        update={
            "accuracy": 1.0,
            "macs": 999_400_000_000,
            "params": 999_400_000,
            "onnx_bytes": 999_400_000,
            "latency_ms_p50": 1234.5,
        }
    )
    text = drawn(table(compare_result(result.model_copy(update={"dense": large}))))
    assert max(map(len, text.splitlines())) <= 80
    assert "100.00 ± 0.27" in text
    assert "999 G" in text
    assert "…" not in text


def test_brackets_are_no_markup():
    text = drawn(table(Comparison(title="a[red]b", rows=[], notes=["c[bold]d"])))
    assert "a[red]b" in text
    assert "c[bold]d" in text


def test_markdown_is_a_table(result):
    lines = markdown([compare_result(result)]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 5
    assert {line.count("|") for line in rows} == {9}
    assert lines[0] == "## resnet20, hap, for cpu-x86-avx2 (seed 0)"
    assert lines[-1] == "- latency was measured on this machine"


def test_json_holds_the_rows(result, make_profile):
    comparisons = [compare_result(result), compare_profiles([make_profile(1.0)])]
    document = json.loads(to_json(comparisons))
    assert [Comparison.model_validate(item) for item in document["comparisons"]] == comparisons


def test_a_profile_says_what_was_not_measured(make_profile):
    text = drawn(profile_table(make_profile(0.5, mismatch="no VNNI")))
    for part in (
        "p50 0.500 ms  [0.450, 0.550]",
        "not given below 500",
        "not measured: no sensor",
        "no VNNI",
        "8 of 8",
    ):
        assert part in " ".join(text.split()) or part in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", known_targets())
def test_a_target_shows_every_source(name):
    target = load_target(name)
    shown = "".join(drawn(target_table(target, name), width=400).split())
    assert "".join(target.activations.source.split()) in shown
    assert max(map(len, drawn(target_table(target, name)).splitlines())) <= 80


def test_the_list_fits_and_resolves_the_alias():
    text = drawn(list_table([load_target(name) for name in known_targets()]))
    assert max(map(len, text.splitlines())) <= 80
    assert "jetson-orin is another name of jetson-agx-orin" in text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (40_813_184, "40.8 M"),
        (999_600, "1.00 M"),
        (4_089_184_256, "4.09 G"),
    ],
)
def test_counts(number, text):
    assert figures.counted(number) == text


def test_one_of_a_kind_has_no_plural():
    assert (figures.several(1, "thread"), figures.several(2, "core")) == ("1 thread", "2 cores")


def test_figures_that_are_missing_are_a_dash():
    assert {
        figures.accuracy(None, None),
        figures.percent(None),
        figures.milliseconds(None),
        figures.times(None),
    } == {"-"}
    assert figures.accuracy(0.5, None) == "50.00"
    assert figures.sized(12) == "12 B"
    assert [figures.milliseconds(value) for value in (0.1234, 1.234, 12.34, 123.4)] == [
        "0.123",
        "1.23",
        "12.3",
        "123",
    ]
