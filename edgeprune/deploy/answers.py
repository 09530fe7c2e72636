"""`python -m edgeprune.deploy.answers BUNDLE`, on the device: check bytes and golden outputs, measure nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeprune.engine.runner import open_runner
from edgeprune.errors import EdgepruneError
from edgeprune.measure.golden import check_golden
from edgeprune.measure.match import saturates
from edgeprune.measure.probe import probe
from edgeprune.spec.bundle import open_bundle
from edgeprune.spec.profile import GoldenResult


def answers(path: Path) -> GoldenResult:
    """Run a bundle's golden inputs with the runtime that it is made for.

    Raises:
        EdgepruneError: a damaged bundle, answers beyond the tolerance, or a runtime that is not here.
    """
    bundle = open_bundle(path)
    runner = open_runner(bundle, exact=saturates(probe(), bundle.manifest))
    if runner.simulated:
        raise EdgepruneError(f"{path}: made for {bundle.manifest.runtime}, which this Python does not find.")
    return check_golden(bundle, runner)


if __name__ == "__main__":
    try:
        sys.stdout.write(answers(Path(sys.argv[1])).model_dump_json() + "\n")
    except EdgepruneError as error:
        sys.stderr.write(f"edgeprune: {error}\n")
        sys.exit(2)
