"""Rows from results and profiles."""

from __future__ import annotations

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.report.compare import compare_profiles, compare_result, read_comparisons


def test_a_result_has_three_rows_compared_with_the_dense(result):
    found = compare_result(result)
    assert [row.label for row in found.rows] == ["dense", "pruned", "INT8"]
    assert [row.speed_up for row in found.rows] == pytest.approx([1.0, 0.829 / 0.5, 0.829 / 0.2])
    assert found.notes == ["latency was measured on this machine"]


def test_the_last_network_is_named_by_its_precision(result):
    unknown = result.final.model_copy(update={"int8_macs_share": None, "latency_ms_p50": None})
    assert compare_result(result.model_copy(update={"final": unknown})).rows[-1].label == "INT8"
    assert compare_result(result.model_copy(update={"precision": "fp32"})).rows[-1].label == "FP32"


def test_a_mask_pattern_stands_beside_the_method(result):
    assert compare_result(result).title == "resnet20, hap, for cpu-x86-avx2 (seed 0)"
    masked = result.model_copy(update={"pattern": "2:4"})
    assert compare_result(masked).title == "resnet20, hap 2:4, for cpu-x86-avx2 (seed 0)"


def test_profiles_of_one_machine_are_compared(make_profile):
    found = compare_profiles([make_profile(2.0), make_profile(0.5)])
    assert [row.speed_up for row in found.rows] == [1.0, 4.0]


@pytest.mark.parametrize("other", [{"processor": "B"}, {"threads": 1}, {"device": "board"}, {"governor": "powersave"}])
def test_profiles_of_unlike_circumstances_have_no_speed_up(make_profile, other):
    rows = compare_profiles([make_profile(2.0), make_profile(0.5, **other)]).rows
    assert rows[1].speed_up is None


def test_doubts_become_notes(make_profile):
    profile = make_profile(1.0, settled=False, matches_target=False, mismatch="no VNNI")
    text = "\n".join(compare_profiles([profile]).notes)
    assert "no VNNI" in text
    assert "had not settled" in text
    assert "[0.900, 1.100]" in text


def test_runs_and_profiles_are_read_from_disk(result, make_profile, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/result.json").write_text(result.model_dump_json(by_alias=True))
    (tmp_path / "p.json").write_text(make_profile(1.0).model_dump_json(by_alias=True))
    run, profiles = read_comparisons([tmp_path / "p.json", tmp_path / "run"])
    assert run == compare_result(result)
    assert profiles.rows[0].latency_ms_p50 == 1.0
    assert read_comparisons([tmp_path / "run/result.json"]) == [run]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty", None, "no result.json"),
        ("p.json", "[1]", "neither"),
        ("p.json", "not json", "neither"),
        ("p.json", '{"latency_ms": 1}', "p.json: "),
        ("none.json", None, "cannot be read"),
    ],
)
def test_other_paths_are_refused_in_one_line(tmp_path, name, content, said):
    (tmp_path / "empty").mkdir()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(EdgepruneError, match=said) as caught:
        read_comparisons([tmp_path / name])
    assert "\n" not in str(caught.value)
