"""Check a bundle, a package or an archive before anything of it is used: who signed it, and every byte."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.packaging.archive import unpack
from edgeprune.packaging.contents import CONTENTS, compare, contents_bytes, others, read_contents
from edgeprune.packaging.signature import ENDING, Vouched, read_signature, verify
from edgeprune.spec.bundle import MANIFEST, MANIFEST_SUM, MOST_MANIFEST_BYTES, Bundle, open_bundle


@dataclass(frozen=True)
class Checked:
    """What was found sound."""

    what: str
    vouched: Vouched | None
    unlisted: tuple[str, ...] = ()
    """Files in the folder that no list names, as plans that were built there."""


def check(path: Path, signers: Path | None = None) -> Checked:
    """Check a bundle or package folder, or an archive; `signers` also asks who signed it.

    Raises:
        EdgepruneError: the first thing that is not as it was packed, or not signed by any of `signers`.
    """
    if path.is_file():
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
            contents, vouched = unpack(path, Path(folder) / "package", signers)
            return Checked(f"archive of {contents.kind} {contents.name}", vouched)
    if (path / CONTENTS).is_file():
        return _check_package(path, signers)
    bundle, vouched = trusted_bundle(path, signers)
    known = {MANIFEST, MANIFEST_SUM, MANIFEST + ENDING, *bundle.manifest.files}
    return Checked(f"bundle {bundle.manifest.name}", vouched, tuple(others(path, known)))


def vouched_bundle(path: Path, signers: Path) -> Vouched:
    """Say who signed a bundle's manifest; nothing else of it is read.

    Raises:
        EdgepruneError: no bundle, or one that none of `signers` signed.
    """
    manifest = path / MANIFEST
    if not manifest.is_file() or manifest.stat().st_size > MOST_MANIFEST_BYTES:
        raise EdgepruneError(f"{path}: no bundle here ({MANIFEST} is missing or too large). Give a RUN/bundle folder.")
    signature = read_signature(path / (MANIFEST + ENDING), str(path))
    return verify(manifest.read_bytes(), signature, signers, str(path))


def trusted_bundle(path: Path, signers: Path | None) -> tuple[Bundle, Vouched | None]:
    """Open a bundle; with `signers`, the one that they signed.

    Raises:
        EdgepruneError: it is damaged, or none of `signers` signed it.
    """
    vouched = vouched_bundle(path, signers) if signers else None
    bundle = open_bundle(path)
    if vouched is not None and vouched.sha256 != bundle.digest:
        raise EdgepruneError(f"{path}: changed while it was checked. Keep others from writing there.")
    return bundle, vouched


def _check_package(path: Path, signers: Path | None) -> Checked:
    text = contents_bytes(path)
    vouched = None
    if signers is not None:
        vouched = verify(text, read_signature(path / (CONTENTS + ENDING), str(path)), signers, str(path))
    contents = read_contents(text, path)
    unlisted = compare(path, contents)
    return Checked(f"{contents.kind} package {contents.name}", vouched, tuple(unlisted))
