"""Targets are read strictly, by name, alias or path."""

from __future__ import annotations

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.spec.shipped import shipped
from edgeprune.spec.target import known_targets, load_target


def test_an_unknown_name_lists_the_known():
    with pytest.raises(EdgepruneError) as caught:
        load_target("jetson-orion")
    assert all(name in str(caught.value) for name in known_targets())
    assert "\n" not in str(caught.value)


def test_a_path_is_read(tmp_path):
    text = (shipped("targets") / "cpu-arm64.toml").read_text().replace("cpu-arm64", "my-board")
    (tmp_path / "my.toml").write_text(text)
    assert load_target(str(tmp_path / "my.toml")).name == "my-board"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "cpu-arm64"', 'name = "x"\nwish = 1', "wish"),
        ('kind = "cpu"', "", "kind"),
        ('value = "unsigned"', 'value = "sometimes"', "activations"),
        ("weight_bits = { value = 8, source = ", "weight_bits = { value = 8, from = ", "source"),
        ("value = 18", "value = eighteen", "not valid TOML"),
    ],
)
def test_a_file_that_does_not_fit_says_where(tmp_path, old, new, said):
    text = (shipped("targets") / "cpu-arm64.toml").read_text()
    assert old in text
    (tmp_path / "bad.toml").write_text(text.replace(old, new))
    with pytest.raises(EdgepruneError, match=said) as caught:
        load_target(str(tmp_path / "bad.toml"))
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(EdgepruneError, match="cannot be read"):
        load_target(str(tmp_path / "none.toml"))
