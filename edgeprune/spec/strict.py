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
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EdgepruneError(f"{path}: not valid JSON ({error}).") from None
    except OSError as error:
        raise EdgepruneError(f"{path}: cannot be read ({error.strerror}).") from None
    return parse(kind, data, str(path))
