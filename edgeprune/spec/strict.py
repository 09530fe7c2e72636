"""Reading files strictly: unknown and missing keys are errors, told in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeprune.errors import EdgepruneError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Strict(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Strict)


def parse(kind: type[S], data: dict[str, Any], where: str) -> S:
    """Build `kind` from plain data.

    Raises:
        EdgepruneError: the first field that does not fit, with what was expected.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        given = f" = {first['input']!r}" if isinstance(first["input"], str | float | int) else ""
        place = f"{where}: {field}{given}" if field else where
        raise EdgepruneError(
            f"{place}: {first['msg'].removeprefix('Value error, ')}. Correct it and try again."
        ) from None


def read_toml(kind: type[S], path: Path) -> S:
    """Read a TOML file into `kind`; raises EdgepruneError in one line when it does not fit."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EdgepruneError(f"{path}: not valid TOML ({error}). Correct the file.") from None
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be read ({error.strerror}).") from None
    return parse(kind, data, str(path))


def read_json(kind: type[S], path: Path) -> S:
    """Read a JSON file into `kind`; raises EdgepruneError in one line when it does not fit."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be read ({error.strerror}).") from None
    return parse(kind, json_of(text, str(path)), str(path))


def json_of(text: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object strictly: UTF-8, no NaN, and no key twice, which two readers could read differently.

    Raises:
        EdgepruneError: it is something else.
    """
    try:
        data = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise EdgepruneError(f"{where}: not valid JSON (nested too deeply).") from None
    except ValueError as error:
        raise EdgepruneError(f"{where}: not valid JSON ({error}).") from None
    if not isinstance(data, dict):
        raise EdgepruneError(f"{where}: a JSON object is expected. Correct the file.")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands there twice")
    return members


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")
