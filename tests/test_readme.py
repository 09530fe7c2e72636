"""What the README and the pages of docs/ say is run.

Before every block stands an HTML comment that says how: `<!-- test: fast -->`, `<!-- test: slow -->` (behind the
marker of that name), `<!-- test: skip, REASON -->` or `<!-- test: output, OF WHAT -->`. Blocks run in a folder with a
`net.py` and `photos/`. Lines that install are left to `.ci/run`, which runs them in a fresh virtual environment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
BLOCK = re.compile(r"(?:^<!-- test: (?P<how>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
INSTALL = re.compile(r"^pip install [^\n&]*(?:&& |$)", re.M)
MOST_LINES = 250


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    how: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(page: str) -> list[Block]:
    text = PAGES[page]
    return [
        Block(page, text[: found.start("code")].count("\n") + 1, found["language"], found["how"] or "", found["code"])
        for found in BLOCK.finditer(text)
    ]


def _named(how: str) -> list[object]:
    return [pytest.param(block, id=block.place) for page in PAGES for block in _blocks(page) if block.how == how]


def _run(block: Block, folder: Path) -> str:
    tiny.write_net(folder)
    tiny.write_folders(folder / "photos")
    code = INSTALL.sub("", block.code)
    command = {"sh": ["bash", "-euc", code], "python": [sys.executable, "-c", code]}[block.language]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.place}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    assert PAGES[page].count("\n```") == 2 * len(_blocks(page)), "a fence that is not closed, or indented"
    for block in _blocks(page):
        known = block.how in {"fast", "slow"} or re.match(r"(skip|output), \S+ \S+", block.how)
        assert known, f"{block.place}: say how it is tested, as in <!-- test: fast -->"
        if block.how in {"fast", "slow"}:
            assert block.language in {"sh", "python"}, block.place


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short(page: str) -> None:
    assert len(PAGES[page].splitlines()) < MOST_LINES


@pytest.mark.parametrize("block", _named("fast"))
def test_a_fast_block_runs(block: Block, tmp_path: Path) -> None:
    _run(block, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("block", _named("slow"))
def test_a_slow_block_runs(block: Block, tmp_path: Path) -> None:
    _run(block, tmp_path)


def test_the_fast_blocks_cover_the_light_commands_and_the_api() -> None:
    fast = "\n".join(block.code for block in _blocks("README.md") if block.how == "fast")
    for wanted in ("--help", "targets", "doctor"):
        assert f"edgeprune {wanted}" in fast
    for wanted in ("prune", "quantize", "export", "profile"):
        assert f"edgeprune.{wanted}(" in fast


def test_ci_runs_the_commands_that_the_readme_gives() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (commands,) = [block.code for block in _blocks("README.md") if "ruff check" in block.code]
    given = [part.strip() for line in commands.splitlines() for part in line.split("#")[0].split("&&")]
    assert "pip install -e '.[dev]'" in given
    for command in given:
        if command != "pytest -m slow":
            assert all(word in ci for word in command.split()), command


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", PAGES[page]):
        assert ((ROOT / page).parent / link).exists(), link
