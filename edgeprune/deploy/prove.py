"""Prove a bundle on a device: look it over, build, check the answers, measure, and bring the profile back.

Each command runs on the device without us; a connection that broke finds it running, or done, when it is back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.deploy.connection import Connection
from edgeprune.deploy.order import Delivery, Order, Show, State
from edgeprune.deploy.said import all_printable
from edgeprune.deploy.stock import Stocked
from edgeprune.errors import EdgepruneError
from edgeprune.measure.written import write_profile
from edgeprune.spec.profile import GoldenResult, Profile
from edgeprune.spec.strict import parse

USER_ERROR, KILLED = 2, 137
ANSWERS = "edgeprune.deploy.answers"


@dataclass(frozen=True)
class Left:
    """What a command on the device printed, and whether it had ended before this connection."""

    out: str
    before: bool


def prove(connection: Connection, order: Order, stocked: Stocked, profiles: Path, show: Show) -> Delivery:
    """Run the commands on a stocked device; the profile is written to a folder here before the device forgets it.

    Raises:
        EdgepruneError: a command fails there.
        Lost: the connection broke.
    """
    asked, bundle = order.asked, stocked.bundle
    there = Site(connection, stocked.python, show)
    with there.job("doctor", ["edgeprune", "doctor", "--json"]) as left:
        doctor = there.document(left, "doctor")
    if order.manifest.runtime == "tensorrt":
        with there.job("building", ["edgeprune", "build", bundle, *asked.build_options]):
            pass
    if not asked.profile:
        with there.job("checking answers", [ANSWERS, bundle]) as left:
            golden = parse(GoldenResult, there.document(left, "answers"), connection.host)
        return _delivery(stocked, connection.host, doctor, golden)
    data = ["--data", stocked.data] if stocked.data else []
    measure = ["edgeprune", "profile", bundle, "--json", "-o", ".", *data, *asked.profile_options]
    with there.job("profiling", measure) as left:
        profile = parse(Profile, there.document(left, "profile"), connection.host)
        if profile.bundle_sha256 != order.digest:
            raise EdgepruneError(f"{connection.host}: the profile that came back is of another bundle. Try --clean.")
        file = write_profile(profile, profiles)
    return _delivery(stocked, connection.host, doctor, profile.golden).model_copy(
        update={"profile": profile, "profile_file": str(file), "waiting": left.before}
    )


def _delivery(stocked: Stocked, host: str, doctor: dict[str, Any], golden: GoldenResult) -> Delivery:
    return Delivery(
        host=host,
        device=stocked.device,
        environment=stocked.python,
        bundle=stocked.bundle,
        doctor=doctor,
        answers=golden,
    )


@dataclass(frozen=True)
class Site:
    """A device on which the environment's Python runs modules."""

    connection: Connection
    python: str
    show: Show

    @contextmanager
    def job(self, step: str, arguments: Sequence[str]) -> Iterator[Left]:
        """Run a module there, and let the device forget what it left once the block has ended without a fault.

        Raises:
            EdgepruneError: it fails.
        """
        self.show(State(step))
        command = [self.python, "-m", *arguments]
        name = f"{arguments[0]}-{hashlib.sha256(json.dumps(command).encode()).hexdigest()[:16]}"
        left = self.connection.ask("job", name=name, command=command)
        if left["code"] != 0:
            self.connection.ask("forget", name=name)
            if left["before"]:  # for a command that was interrupted: it may have been mended since
                left = self.connection.ask("job", name=name, command=command)
        if left["code"] != 0:
            self.connection.ask("forget", name=name)
            raise EdgepruneError(f"{self.connection.host}: {_failure(step, left['code'], left['err'])}")
        yield Left(left["out"], left["before"])
        self.connection.ask("forget", name=name)

    def document(self, left: Left, what: str) -> dict[str, Any]:
        """The JSON document that a command printed.

        Raises:
            EdgepruneError: it printed something else.
        """
        try:
            found: dict[str, Any] = all_printable(json.loads(left.out))
        except ValueError:
            first = left.out.strip().splitlines()[:1] or ["nothing"]
            raise EdgepruneError(f"{self.connection.host}: {what} printed {first[0]!r} instead of JSON.") from None
        return found


def _failure(step: str, code: int | None, err: str) -> str:
    """What to say of a command that failed there."""
    last = (err.strip().splitlines() or ["it said nothing"])[-1]
    if code == USER_ERROR:
        return last.removeprefix("edgeprune: ")
    if code is None:
        return f"{step} was stopped there. Run the same command again."
    if code == KILLED:
        return f"{step} was killed there, as happens when memory runs out. Free some, and run the same command again."
    return f"{step} ended with exit code {code} there ({last})."
