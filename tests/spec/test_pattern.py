"""Patterns as they are asked for, and what is said of them before the work starts."""

from __future__ import annotations

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.spec.pattern import no_speed, parse_pattern, zeros_asked
from edgeprune.spec.recipe import Recipe
from edgeprune.spec.target import known_targets, load_target


@pytest.mark.parametrize("text", ["channel", "2:4", "1:4", "3:7", "1x4", "1x16", "unstructured"])
def test_a_pattern_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_pattern(text)) == text
    assert parse_pattern(text).masks is (text != "channel")


@pytest.mark.parametrize(
    "text", ["4:2", "4:4", "0:4", "2:0", "1x1", "1x0", "2x4", "2:4:8", "", "n:m", "Channel", "2 :4"]
)
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(EdgepruneError) as caught:
        parse_pattern(text)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)


def test_the_share_follows_from_n_of_m_and_is_asked_for_else() -> None:
    assert zeros_asked(parse_pattern("1:4"), {}) == 0.75
    assert zeros_asked(parse_pattern("1:4"), {"sparsity": 0.75}) == 0.75
    assert zeros_asked(parse_pattern("unstructured"), {"sparsity": 0.9}) == 0.9
    assert zeros_asked(parse_pattern("1x4"), {}) == 0.5


@pytest.mark.parametrize(
    ("pattern", "budget", "said"),
    [
        ("2:4", {"macs": 0.5}, "a budget of macs says nothing"),
        ("2:4", {"params": 0.5}, "Leave it out"),
        ("unstructured", {"macs": 0.5}, "Give a sparsity"),
        ("2:4", {"sparsity": 0.6}, "its sparsity is 0.5"),
    ],
)
def test_a_budget_that_does_not_fit_is_told(pattern: str, budget: dict[str, float], said: str) -> None:
    with pytest.raises(EdgepruneError, match=said):
        zeros_asked(parse_pattern(pattern), budget)


def test_a_recipe_says_the_share_that_its_pattern_makes() -> None:
    content = {"source": {"model": "resnet18", "data": "digits"}, "target": "cpu-x86-avx2"}
    recipe = Recipe.model_validate({**content, "pattern": "1:4"})
    assert recipe.budget.limits == {"sparsity": 0.75}
    assert Recipe.model_validate(recipe.model_dump(by_alias=True)) == recipe
    assert Recipe.model_validate(content).budget.limits == {"macs": 0.5}
    with pytest.raises(EdgepruneError, match="says nothing"):
        Recipe.model_validate({**content, "pattern": "1x4", "budget": {"params": 0.5}})


@pytest.mark.parametrize(
    "other", [{"exact": True}, {"attention": "heads"}, {"layers": [{"pattern": "a", "multiple": 4}]}], ids=str
)
def test_a_setting_on_channels_is_not_passed_over(other: dict[str, object]) -> None:
    content = {"source": {"model": "resnet18", "data": "digits"}, "target": "cpu-x86-avx2", **other}
    assert Recipe.model_validate(content)
    with pytest.raises(EdgepruneError, match="is about channels, and pattern 2:4 cuts none"):
        Recipe.model_validate({**content, "pattern": "2:4"})


@pytest.mark.parametrize("name", known_targets())
def test_only_the_target_s_own_pattern_is_silent(name: str) -> None:
    target = load_target(name)
    sparse = target.sparsity is not None
    assert (no_speed(parse_pattern("2:4"), target) is None) is sparse
    assert no_speed(parse_pattern("channel"), target) is None
    for text in ("unstructured", "1x4", "1:3", "3:4"):
        line = no_speed(parse_pattern(text), target)
        assert line is not None
        assert "brings no speed" in line
        assert "\n" not in line
    line = no_speed(parse_pattern("1:4"), target)
    assert line is not None
    assert ("no more speed than 2:4" in line) is sparse
