"""Functions of the user's own, named as `file.py:function` or `package.module:function`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeprune.errors import EdgepruneError

LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in (
        *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")),
        Path(__file__).resolve().parents[1],
    )
)


def is_reference(text: str) -> bool:
    """Say whether a text has the form `something:function`."""
    where, colon, name = text.rpartition(":")
    return bool(colon and where) and name.isidentifier()


def call(reference: str, offered: dict[str, object]) -> object:
    """Call the function with those of the `offered` arguments that its signature takes.

    Raises:
        EdgepruneError: no such file, module or function (the text lists what is there), it needs other
            arguments, or it raised (the text names the line of the user's code).

    """
    where, _, name = reference.rpartition(":")
    with _importable(Path(where).parent if where.endswith(".py") else Path()):
        module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
        function = _pick(module, where, name)
        arguments = _accepted(reference, function, offered)
        try:
            return function(**arguments)
        except (Exception, SystemExit) as error:
            raise failure(f"{reference} failed", error) from error


def functions_in(path: Path) -> list[str]:
    """Names of the public functions and classes that a Python file defines."""
    with _importable(path.parent):
        return _own(_import_file(path))


def failure(what: str, error: BaseException) -> EdgepruneError:
    """One line of what happened and where in the user's own code."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    told = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    if isinstance(error, SyntaxError):
        return EdgepruneError(f"{what}: SyntaxError: {error.msg} ({error.filename}:{error.lineno}). Correct that line.")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((*LIBRARIES, "<"))]
    site = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return EdgepruneError(f"{what}: {told}{site}. Correct that line." if own else f"{what}: {told}.")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise EdgepruneError(f"{path}: no such file. Give file.py:function.")
    name = f"edgeprune_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise failure(f"{path}: cannot be imported", error) from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise EdgepruneError(f"no module {error.name!r} here. Install it, or give file.py:function.") from None
        raise failure(f"{name}: cannot be imported", error) from error
    except (Exception, SystemExit) as error:
        raise failure(f"{name}: cannot be imported", error) from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let imports find the files beside the user's file, as `python file.py` would."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _own(module: ModuleType) -> list[str]:
    return sorted(
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def _pick(module: ModuleType, where: str, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if callable(found):
        function: Callable[..., Any] = found
        return function
    listed = ", ".join(_own(module)[:20]) or "none"
    raise EdgepruneError(f"{where}: has no function {name!r}. It has: {listed}.")


def _accepted(reference: str, function: Callable[..., Any], offered: dict[str, object]) -> dict[str, object]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return {}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        accepted = offered
    else:
        named = {p.name for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY}
        accepted = {name: value for name, value in offered.items() if name in named}
    open_kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind not in open_kinds and p.name not in accepted
    ]
    if needed:
        may = f" (only {', '.join(offered)} is given)" if offered else ""
        raise EdgepruneError(f"{reference}: needs arguments {', '.join(needed)}{may}. Give them defaults.")
    return accepted
