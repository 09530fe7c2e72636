"""A wheel of this very edgeprune, packed from the installed package or from the checkout that runs.

Packed and not built: nothing is needed here but the package itself, and what runs here is what runs there. The same
files always give the same bytes, so a device that has them is not sent them again.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import os
import tempfile
import zipfile
from pathlib import Path

from edgeprune import __version__
from edgeprune.errors import EdgepruneError
from edgeprune.spec.shipped import shipped

DATA = ("targets", "profiles")
WHEEL = "Wheel-Version: 1.0\nGenerator: edgeprune\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)
LICENSE = "licenses/LICENSE"


def requirements() -> list[str]:
    """Return what this edgeprune requires, as its metadata says it, markers and all.

    Raises:
        EdgepruneError: it runs from a folder and is not installed.
    """
    return _distribution().requires or []


def pack_wheel(folder: Path) -> Path:
    """Write the wheel into a folder, by atomic rename, and return its path."""
    path = folder / f"edgeprune-{__version__}-py3-none-any.whl"
    content = _zipped(_contents())
    handle, unfinished = tempfile.mkstemp(dir=folder, prefix=".wheel-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    Path(unfinished).replace(path)
    return path


def _contents() -> dict[str, bytes]:
    """Name and bytes of every file of the wheel but its RECORD."""
    package = Path(__file__).parents[1]
    sources = {f"edgeprune/{path.relative_to(package).as_posix()}": path for path in _files(package)}
    for folder in DATA:
        data = shipped(folder)
        sources |= {f"edgeprune/{folder}/{path.relative_to(data).as_posix()}": path for path in _files(data)}
    found = {name: path.read_bytes() for name, path in sorted(sources.items())}
    distribution, info = _distribution(), f"edgeprune-{__version__}.dist-info"
    for name in ("METADATA", "entry_points.txt", LICENSE):
        text = distribution.read_text(name)
        if text is not None:
            found[f"{info}/{name}"] = text.encode()
    return found | {f"{info}/WHEEL": WHEEL.encode()}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _zipped(contents: dict[str, bytes]) -> bytes:
    record = f"edgeprune-{__version__}.dist-info/RECORD"
    rows = [f"{name},sha256={_urlsafe(data)},{len(data)}" for name, data in contents.items()]
    rows.append(f"{record},,")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (contents | {record: "\n".join([*rows, ""]).encode()}).items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("edgeprune")
    except importlib.metadata.PackageNotFoundError:
        raise EdgepruneError("edgeprune runs from a folder and is not installed. pip install that folder.") from None
