"""One file for a package: a tar, gzipped, that begins with package.json.

What comes from elsewhere is read with suspicion: the list comes first and is checked first (its signature too, where
one is asked for); then every member must be a plain file of the list, once, with the size that the list says. Links,
devices, absolute paths and `..` are on no list, and the reader stops at the first byte beyond what the list promises,
so that nothing small unpacks into something large. Files are written into a folder of our own, which takes the wanted
name when all is well.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from edgeprune.errors import EdgepruneError
from edgeprune.packaging.contents import CONTENTS, Contents, read_contents
from edgeprune.packaging.signature import ENDING, Vouched, verify
from edgeprune.packaging.signature import MOST_BYTES as MOST_SIGNATURE_BYTES
from edgeprune.spec.bundle import MOST_MANIFEST_BYTES
from edgeprune.spec.whole import whole_or_nothing

SUFFIXES = (".tar.gz", ".tgz")
GZIP = b"\x1f\x8b"
BLOCK, RECORD = 512, 20 * 512
CHUNK = 1 << 20
BROKEN = (tarfile.TarError, OSError, ValueError, OverflowError)
"""What tarfile and gzip raise on damaged files."""


def is_archive(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The name of an archive without its ending."""
    return next(
        (path.name.removesuffix(end) for end in (*SUFFIXES, ".tar") if path.name.endswith(end)), f"{path.name}-unpacked"
    )


def pack(folder: Path, contents: Contents, archive: Path) -> None:
    """Pack a package; the same files give the same bytes.

    Raises:
        EdgepruneError: the archive cannot be written.
    """
    names = [CONTENTS, CONTENTS + ENDING, *sorted(contents.files)]
    with (
        whole_or_nothing(archive, folder=False) as partial,
        partial.open("wb") as stream,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in names:
            if (folder / name).is_file():
                info = tarfile.TarInfo(name)
                info.size = (folder / name).stat().st_size
                info.mode = 0o755 if name.endswith(".sh") else 0o644
                with (folder / name).open("rb") as content:
                    tar.addfile(info, content)


def unpack(archive: Path, into: Path, signers: Path | None = None) -> tuple[Contents, Vouched | None]:
    """Unpack an archive into a new folder, if all of it is as its list says.

    Args:
        archive: a .tar.gz of `pack`, or the .tar inside it.
        into: the folder to make; nothing may be there.
        signers: refuse an archive that none of these signed (`signature.verify`).

    Raises:
        EdgepruneError: a damaged or hostile archive, or one that is not signed; `into` is not made then.
    """
    if into.exists() or into.is_symlink():
        raise EdgepruneError(f"{into}: is there already. Choose another folder with -o.")
    try:
        with whole_or_nothing(into) as folder, _opened(archive) as stream:
            return _unpack(archive, stream, folder, signers)
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EdgepruneError(f"{archive}: not an archive of edgeprune ({reason}). Copy it again.") from None


@contextmanager
def _opened(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield cast(IO[bytes], stream)


class _PlainFile(tarfile.TarInfo):
    """A member that must be a plain file.

    Refused here and not later, because tarfile reads what a header extends into memory before it hands it out.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _PlainFile:
        member = super().frombuf(buf, encoding, errors)
        if member.type != tarfile.REGTYPE:
            raise ValueError(f"{member.name[:100]!r} is no plain file")
        return member


class _Limited(io.RawIOBase):
    """A stream that raises at the first byte beyond a limit, which may be raised."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self.left = stream, limit

    def read(self, size: int | None = -1) -> bytes:
        # Asked for more than may come, one byte more shows whether there is more.
        wanted = self.left + 1 if size is None or size < 0 else min(size, self.left + 1)
        try:
            data = self._stream.read(wanted)
        except (OSError, EOFError, zlib.error) as error:  # gzip's own faults are OSErrors, as those of a full disk
            raise ValueError(str(error)) from None
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("it holds more than it lists")
        return data


def _unpack(archive: Path, stream: IO[bytes], folder: Path, signers: Path | None) -> tuple[Contents, Vouched | None]:
    limited = _Limited(stream, MOST_MANIFEST_BYTES + MOST_SIGNATURE_BYTES + 2 * RECORD)
    with tarfile.open(fileobj=cast("IO[bytes]", limited), mode="r|", tarinfo=_PlainFile) as tar:
        first = tar.next()
        if first is None or first.name != CONTENTS:
            raise ValueError(f"it does not begin with {CONTENTS}")
        text = _read(tar, first, MOST_MANIFEST_BYTES)
        contents = read_contents(text, archive)
        member = tar.next()
        signature = None
        if member is not None and member.name == CONTENTS + ENDING:
            signature = _read(tar, member, MOST_SIGNATURE_BYTES)
            member = tar.next()
        vouched = _vouched(archive, text, signature, signers)
        free = shutil.disk_usage(folder).free
        if contents.total_bytes > free:
            raise EdgepruneError(f"{archive}: unpacks to {contents.total_bytes} bytes, and {free} are free. Make room.")
        limited.left = contents.total_bytes + (len(contents.files) + 1) * 2 * BLOCK + 2 * RECORD
        (folder / CONTENTS).write_bytes(text)
        if signature is not None:
            (folder / (CONTENTS + ENDING)).write_bytes(signature)
        missing = set(contents.files)
        while member is not None:
            if member.name not in missing:
                raise ValueError(f"{member.name[:100]!r} is not on its list, or comes twice")
            missing.discard(member.name)
            _write(tar, member, folder, contents)
            member = tar.next()
        if missing:
            raise ValueError(f"{min(missing)} is missing")
        while limited.read(CHUNK):  # to the end, where gzip's own sum is
            pass
    return contents, vouched


def _vouched(archive: Path, text: bytes, signature: bytes | None, signers: Path | None) -> Vouched | None:
    if signers is None:
        return None
    if signature is None:
        raise EdgepruneError(f"{archive}: is not signed. Sign it with edgeprune package --sign KEY.")
    return verify(text, signature, signers, str(archive))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    stream = tar.extractfile(member)
    if stream is None or member.size > most:
        raise ValueError(f"{member.name} is larger than it may be")
    return stream.read()


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, contents: Contents) -> None:
    listed = contents.files[member.name]
    stream = tar.extractfile(member)
    if stream is None or member.size != listed.bytes:
        raise ValueError(f"{member.name} has another size than its list says")
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    with path.open("xb") as out:
        while chunk := stream.read(CHUNK):
            hasher.update(chunk)
            out.write(chunk)
    if hasher.hexdigest() != listed.sha256:
        raise EdgepruneError(f"{member.name} does not match its sha256. Copy the archive again.")
    if member.name.endswith(".sh"):
        path.chmod(0o755)
