"""Bundles and archives, damaged or forged in every way that we thought of."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = (
    "../evil",
    "/tmp/evil",
    "a/../../evil",
    "..",
    ".",
    "",
    "evil\0",
    "C:\\evil",
    "a\\..\\evil",
    "x" * 300,
    "é",
    ".x",
)
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 40, 10**30, 1.5, 1e308, "", "x", "0" * 64, [], [0], [-1], [1 << 33], [[]], {}, {"a": 1},
)  # fmt: skip


def flip(rng: random.Random, content: bytes) -> bytes:
    """Change a few bits, cut the end off, or put something in."""
    if not content:
        return b"x"
    changed = bytearray(content)
    how = rng.randrange(4)
    if how == 0:
        return bytes(changed[: rng.randrange(len(changed))])
    if how == 1:
        at = rng.randrange(len(changed))
        changed[at:at] = rng.randbytes(rng.randrange(1, 40))
        return bytes(changed)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def forge(rng: random.Random, text: bytes) -> bytes:
    """Change a field of a document to something that does not belong there, or to another sound-looking value."""
    data = json.loads(text)
    path = rng.choice([place for place in places(data) if place[0] not in {"recipe"}])
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    how = rng.randrange(4)
    if how == 0 and isinstance(holder, dict):
        del holder[path[-1]]
    elif how == 1 and isinstance(holder, dict):
        holder[rng.choice([*NAMES, "extra"])] = holder.pop(path[-1])
    elif how == 2:
        data[rng.choice(["extra", "Schema", "__class__"])] = rng.choice(VALUES)
    else:
        holder[path[-1]] = rng.choice(VALUES)
    return json.dumps(data).encode()


def rewrite(folder: Path, text: bytes) -> None:
    """Put a manifest in with the sum that it then has, as whoever forges one does."""
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")


def mutate_bundle(rng: random.Random, sound: Path, folder: Path) -> None:
    """Copy a bundle and change it: a byte, a field, or a file together with its sums."""
    shutil.copytree(sound, folder)
    names = sorted(path.name for path in folder.iterdir())
    how = rng.randrange(5)
    if how == 0:
        name = rng.choice(names)
        content = (folder / name).read_bytes()
        # Behind its 64 digits, manifest.sha256 holds a name for people.
        changed = content[:-1] if name == "manifest.sha256" and len(content) < 3 else flip(rng, content)
        if name == "manifest.sha256":
            changed = flip(rng, content[:64])[:64].ljust(3)
        (folder / name).write_bytes(changed)
    elif how == 1:
        (folder / rng.choice(names)).unlink()
    elif how == 2:
        rewrite(folder, forge(rng, (folder / "manifest.json").read_bytes()))
    elif how == 3:
        rewrite(folder, flip(rng, (folder / "manifest.json").read_bytes()))
    else:
        data = json.loads((folder / "manifest.json").read_bytes())
        content = flip(rng, (folder / "golden.npz").read_bytes())
        (folder / "golden.npz").write_bytes(content)
        data["files"]["golden.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        rewrite(folder, json.dumps(data).encode())


def _member(name: str, content: bytes = b"evil", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content) if more.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else 0
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def members_of(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(archive) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def write_archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT) -> None:
    raw = io.BytesIO()
    if any(len(info.name.encode()) > 100 for info, _ in members):
        form = tarfile.GNU_FORMAT  # the older one cannot say such names
    with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(raw.getvalue(), 1))


def _insert(rng: random.Random, members: list[Any], new: tuple[tarfile.TarInfo, bytes]) -> None:
    members.insert(rng.randrange(len(members) + 1), new)


def _link(rng: random.Random, members: list[Any]) -> None:
    name = rng.choice([*NAMES[:4], members[rng.randrange(len(members))][0].name, "link"])
    kind = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
    _insert(rng, members, _member(name, type=kind, linkname=rng.choice(["/etc/passwd", "../..", "model.onnx"])))


def _traverse(rng: random.Random, members: list[Any]) -> None:
    _insert(rng, members, _member(rng.choice([name for name in NAMES if "\0" not in name])))


def _list_too(rng: random.Random, members: list[Any]) -> None:
    """A name that leads out, which the list names too."""
    text = json.loads(members[0][1])
    name = rng.choice([name for name in NAMES if "\0" not in name])
    text["files"][name] = {"sha256": hashlib.sha256(b"evil").hexdigest(), "bytes": 4}
    content = json.dumps(text).encode()
    members[0] = _member("package.json", content)
    members.append(_member(name))


def _twice(rng: random.Random, members: list[Any]) -> None:
    members.append(rng.choice(members))


def _drop(rng: random.Random, members: list[Any]) -> None:
    del members[rng.randrange(len(members))]


def _grow(rng: random.Random, members: list[Any]) -> None:
    at = rng.randrange(1, len(members))
    members[at] = _member(members[at][0].name, members[at][1] + bytes(rng.choice([1, 1 << 20])))


def _change(rng: random.Random, members: list[Any]) -> None:
    at = rng.randrange(1, len(members))
    content = bytearray(members[at][1])
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    members[at] = _member(members[at][0].name, bytes(content))


def _forge_list(rng: random.Random, members: list[Any]) -> None:
    members[0] = _member("package.json", forge(rng, members[0][1]))


CHANGES: tuple[Callable[[random.Random, list[Any]], None], ...] = (
    _link, _traverse, _list_too, _twice, _drop, _grow, _change, _forge_list,
)  # fmt: skip


def mutate_archive(rng: random.Random, sound: Path, path: Path) -> None:
    """Change an archive: its bytes, those of the tar inside, or its members."""
    how = rng.randrange(8)
    if how == 0:
        path.write_bytes(flip(rng, sound.read_bytes()))
    elif how <= 2:
        raw = gzip.decompress(sound.read_bytes())
        path.write_bytes(gzip.compress(flip(rng, raw), 1))
    else:
        members = members_of(sound)
        rng.choice(CHANGES)(rng, members)
        write_archive(path, members, rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
