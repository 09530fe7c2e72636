"""The command line: the only place where faults become messages."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, cast

import typer

from edgeprune import __version__
from edgeprune.cli import (
    build,
    compress,
    curvature,
    deploy,
    diagnose,
    doctor,
    export,
    inspect,
    lint,
    package,
    profile,
    prune,
    quantize,
    report,
    targets,
    verify,
)
from edgeprune.errors import EdgepruneError

app = typer.Typer(
    help="Compress a trained PyTorch vision model for a device, and measure what ships.",
    add_completion=False,
    rich_markup_mode="markdown",  # in which [default: 3] is text, not a style
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _name, _command in (
    ("compress", compress.compress),
    ("prune", prune.prune),
    ("quantize", quantize.quantize),
    ("export", export.export),
    ("build", build.build),
    ("diagnose", diagnose.diagnose),
    ("curvature", curvature.curvature),
    ("inspect", inspect.inspect),
    ("lint", lint.lint),
    ("profile", profile.profile),
    ("deploy", deploy.deploy),
    ("report", report.report),
    ("package", package.package),
    ("verify", verify.verify),
    ("unpack", verify.unpack),
    ("targets", targets.targets),
    ("doctor", doctor.doctor),
):
    app.command(_name)(_command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    del version


FULL = {errno.ENOSPC, errno.EDQUOT}
INTERRUPTED = 130
USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
"""What typer raises for options and arguments that do not parse; it exports only this one of its kinds."""


def main() -> None:
    """Run the command line; a fault that the user can mend is one line and exit code 2."""
    try:
        # Not in typer's own way, which prints a box of several lines for an option that does not parse.
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except EdgepruneError as error:
        _fail(str(error))
    except USAGE_ERROR as error:
        _fail(_usage(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "edgeprune":
            raise
        _fail(f"{package} is not installed; this command needs the compressing half. pip install 'edgeprune[host]'")
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f" writing {error.filename}" if error.filename else ""
        _fail(
            f"the disk is full{where}. Free some space, then run the same command again: it goes on where it stopped."
        )
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        sys.stderr.write("edgeprune: interrupted. Run the same command again: it goes on where it stopped.\n")
        os._exit(INTERRUPTED)


def _usage(error: Any) -> str:
    command = error.ctx.command_path if error.ctx is not None else "edgeprune"
    return f"{error.format_message().rstrip('.')}. See {command} --help."


def _fail(message: str) -> None:
    sys.stderr.write(f"edgeprune: {' '.join(message.split())}\n")
    sys.exit(2)
