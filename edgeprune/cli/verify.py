"""`edgeprune verify` and `edgeprune unpack`: what came from elsewhere, checked before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeprune.packaging.signature import Vouched

Signers = Annotated[
    Path | None,
    typer.Option(
        "--verify",
        metavar="ALLOWED_SIGNERS",
        help="Refuse what none of these signed; lines of NAME KEYTYPE KEY, as ssh-keygen has them.",
        show_default=False,
    ),
]


def insist(signers: Path | None, *bundles: Path) -> None:
    """Refuse bundles that none of `signers`, where they are given, signed; before any runtime sees them.

    Raises:
        EdgepruneError: one of them is damaged, or signed by nobody listed.
    """
    if signers is not None:
        from edgeprune.packaging.check import trusted_bundle

        for bundle in bundles:
            trusted_bundle(bundle, signers)


def verify(
    path: Annotated[Path, typer.Argument(help="A bundle, a package, or an archive of one.", show_default=False)],
    signers: Signers = None,
) -> None:
    """Check every byte of a bundle, package or archive, and who signed it."""
    from edgeprune.packaging.check import check

    found = check(path, signers)
    typer.echo(f"{found.what}: every byte is as it was packed; {_by(found.vouched)}")
    if found.unlisted:
        typer.echo(f"not covered: {', '.join(found.unlisted[:5])} ({len(found.unlisted)} files)", err=True)


def unpack(
    archive: Annotated[Path, typer.Argument(help="What edgeprune package wrote as .tar.gz.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A folder to make. [default: the archive's name]", show_default=False),
    ] = None,
    signers: Signers = None,
) -> None:
    """Unpack an archive, if all of it is as its list says."""
    from edgeprune.errors import EdgepruneError
    from edgeprune.packaging.archive import stem
    from edgeprune.packaging.archive import unpack as take_out

    if not archive.is_file():
        raise EdgepruneError(f"{archive}: no archive there. Give a file of edgeprune package -o NAME.tar.gz.")
    into = output or Path(stem(archive))
    contents, vouched = take_out(archive, into, signers)
    typer.echo(f"{contents.kind} {contents.name} in {into}; {_by(vouched)}")


def _by(vouched: Vouched | None) -> str:
    return f"signed by {vouched.principal}" if vouched else "who made it was not asked (--verify ALLOWED_SIGNERS)"
