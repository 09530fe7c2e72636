"""Contents: package.json, which lists every file of a package with its sha256."""

from __future__ import annotations

import os
import re
from collections.abc import Set
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field, model_validator

from edgeprune.errors import EdgepruneError
from edgeprune.spec.bundle import MOST_MANIFEST_BYTES, FileSum, Word, file_sum, matches
from edgeprune.spec.strict import Strict, json_of, parse

CONTENTS = "package.json"
SCHEMA = 1
MOST_BYTES = 16 << 30
"""Of all files of a package together."""
MOST_FILES = 1000

Kind: TypeAlias = Literal["bundle", "cpp", "python", "triton", "deepstream"]
FORMS: tuple[Kind, ...] = get_args(Kind)
FilePath = Annotated[
    str,
    Field(pattern="^([A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/){0,6}[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$", max_length=200),
]
"""Plain names with / between them: nothing that leads out of the folder, on any system."""


class Contents(Strict):
    schema_: Literal[1] = Field(default=1, alias="schema")
    kind: Kind
    name: Word
    edgeprune_version: Word
    bundle: FilePath | None
    """Where the bundle lies; None: the folder is one."""
    files: dict[FilePath, FileSum] = Field(max_length=MOST_FILES)

    @model_validator(mode="after")
    def _can_lie_in_one_folder(self) -> Contents:
        if self.total_bytes > MOST_BYTES:
            raise ValueError(f"files of {self.total_bytes} bytes, and {MOST_BYTES} is the most")
        folders = {parent.as_posix() for name in self.files for parent in Path(name).parents}
        taken = {name.lower() for name in self.files}
        if len(taken) < len(self.files) or folders & set(self.files) or CONTENTS in taken:
            raise ValueError("two files of one name, or one that is a folder too")
        return self

    @property
    def total_bytes(self) -> int:
        return sum(listed.bytes for listed in self.files.values())


def plain_name(name: str) -> str:
    """What a bundle calls itself, as the name of a file, a model or an image: the bundle may be a stranger's."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip(".-")[:80] or "model"


def kind_of(form: str | None) -> Kind:
    """What `--for` names; without it, the bundle alone.

    Raises:
        EdgepruneError: no such form.
    """
    for kind in FORMS:
        if kind == (form or "bundle"):
            return kind
    raise EdgepruneError(f"--for {form}: unknown. Choose one of {', '.join(FORMS)}.")


def list_contents(folder: Path, kind: Kind, name: str, version: str, bundle: str | None) -> Contents:
    """Sum every file below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_sum(path) for path in paths}
    return Contents(kind=kind, name=name, edgeprune_version=version, bundle=bundle, files=files)


def write_contents(folder: Path, contents: Contents) -> None:
    (folder / CONTENTS).write_text(contents.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")


def read_contents(text: bytes, where: Path) -> Contents:
    """Read package.json; `where` is the package, for the fault.

    Raises:
        EdgepruneError: it is of a newer version, or does not fit.
    """
    data = json_of(text, f"{where}: {CONTENTS}")
    version = data.get("schema")
    if isinstance(version, int) and version > SCHEMA:
        raise EdgepruneError(
            f"{where}: a package of format {version}, and this edgeprune reads up to {SCHEMA}. pip install -U edgeprune"
        )
    if version is None:
        raise EdgepruneError(f"{where}: {CONTENTS}: schema: missing. Package it again.")
    return parse(Contents, data, f"{where}: {CONTENTS}")


def contents_bytes(folder: Path) -> bytes:
    """The bytes of package.json.

    Raises:
        EdgepruneError: there is none, or it is larger than it may be.
    """
    path = folder / CONTENTS
    if not path.is_file() or path.stat().st_size > MOST_MANIFEST_BYTES:
        raise EdgepruneError(f"{folder}: no package here ({CONTENTS} is missing or too large).")
    return path.read_bytes()


def compare(folder: Path, contents: Contents) -> list[str]:
    """Compare every listed file with its sum, and return the files that nobody lists.

    Raises:
        EdgepruneError: a file that is missing or differs, or a link that leads out of the folder.
    """
    root = folder.resolve()
    for name, listed in contents.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(root) or not matches(path, listed):
            raise EdgepruneError(f"{folder}: {name} does not match its sha256. Copy or package it again.")
    return others(folder, {CONTENTS, f"{CONTENTS}.sig", *contents.files})


def others(folder: Path, known: Set[str]) -> list[str]:
    """The files of a folder beside those that are known."""
    found = (Path(at, name).relative_to(folder).as_posix() for at, _, names in os.walk(folder) for name in names)
    return sorted(set(found) - known)
