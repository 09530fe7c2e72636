"""package_bundle: one form of a bundle, listed, signed, and packed where an archive is wanted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeprune import __version__
from edgeprune.errors import EdgepruneError
from edgeprune.packaging.archive import is_archive, pack
from edgeprune.packaging.contents import CONTENTS, Contents, Kind, list_contents, write_contents
from edgeprune.packaging.forms import FORMS, Order
from edgeprune.packaging.signature import ENDING, sign
from edgeprune.spec.bundle import MANIFEST
from edgeprune.spec.whole import whole_or_nothing


def package_bundle(order: Order, kind: Kind, output: Path, key: Path | None = None) -> Path:
    """Write a package as a folder, or as an archive where `output` ends in .tar.gz; an older package is replaced.

    Args:
        order: the bundle, and what its form needs to know.
        kind: which form.
        output: where.
        key: signs the package, and the bundle in it.

    Raises:
        EdgepruneError: `output` is something else's, the key does not sign, or the form cannot hold this bundle.
    """
    _refuse_foreign(output, order)
    if not is_archive(output):
        with whole_or_nothing(output) as folder:
            _fill(order, kind, folder, key)
        return output
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as temporary:
        folder = Path(temporary)
        pack(folder, _fill(order, kind, folder, key), output)
    return output


def _fill(order: Order, kind: Kind, folder: Path, key: Path | None) -> Contents:
    FORMS[kind](order, folder)
    inner = None if kind == "bundle" else "bundle"
    if key is not None:
        bundle = folder / (inner or ".")
        (bundle / (MANIFEST + ENDING)).write_bytes(sign((bundle / MANIFEST).read_bytes(), key))
    contents = list_contents(folder, kind, order.bundle.manifest.name, __version__, inner)
    write_contents(folder, contents)
    if key is not None:
        (folder / (CONTENTS + ENDING)).write_bytes(sign((folder / CONTENTS).read_bytes(), key))
    return contents


def _refuse_foreign(output: Path, order: Order) -> None:
    """Keep what is no package of ours: a typing error after -o must not cost a folder."""
    inside = order.bundle.path.resolve().is_relative_to(output.resolve())
    folder_of_others = output.is_dir() and (
        is_archive(output) or (not (output / CONTENTS).is_file() and any(output.iterdir()))
    )
    file_of_others = output.is_file() and not is_archive(output)
    if inside or folder_of_others or file_of_others:
        raise EdgepruneError(f"{output}: holds something else than a package. Choose another place with -o.")
