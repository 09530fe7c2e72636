"""Deploying to a real sshd on loopback: profiles come back, broken connections go on, nothing is left half-done."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeprune.spec.bundle import open_bundle
from edgeprune.spec.profile import Profile
from edgeprune.spec.strict import read_json
from tests.conftest import Here
from tests.deploy.looks import BRIEF, LARGE, deliveries, is_tidy, run_there, started, until
from tests.deploy.sshd import Device, Proxy, offline_prefix, start

Link = tuple[Device, Proxy]


def test_a_profile_comes_back_from_python_310_without_network(jetson: Device, bundle: Path, here: Here) -> None:
    (host,) = deliveries(here("deploy", str(bundle), "jetson", "--ssh", jetson.ssh, *BRIEF, "--json"))
    profile = read_json(Profile, Path(host["profile_file"]))
    assert Path(host["profile_file"]).is_relative_to(bundle.parent / "profiles" / "jetson")
    assert profile.versions["python"].startswith("3.10.")
    assert profile.bundle_sha256 == open_bundle(bundle).digest
    assert profile.model_dump(mode="json", by_alias=True) == host["profile"]
    assert host["device"]["python"].startswith("3.10.")
    assert host["doctor"]["python"].startswith("3.10.")
    assert host["answers"]["checked"] == 3
    assert not host["waiting"]
    assert open_bundle(Path(host["bundle"])).digest == profile.bundle_sha256
    is_tidy(jetson)


def test_what_runs_on_the_device_has_no_network(jetson: Device) -> None:
    if offline_prefix() is None:
        pytest.skip("this kernel lets us make no network namespace")
    reach = "import socket; socket.create_connection(('127.0.0.1', 22), 1)"
    done = run_there(jetson, f'python3 -c "{reach}"')
    assert "Network is unreachable" in done.stderr


def test_the_second_time_hardly_anything_is_sent(link: Link, bundle: Path, here: Here) -> None:
    device, proxy = link
    command = ("deploy", str(bundle), "jetson", "--ssh", device.ssh, "--no-profile", "--json")
    deliveries(here(*command))
    before = proxy.sent
    (host,) = deliveries(here(*command))
    assert proxy.sent - before < 100_000
    assert host["profile"] is None
    assert host["answers"]["worst"] <= host["answers"]["tolerance"]


def test_a_connection_that_breaks_in_the_transfer_goes_on(link: Link, large_bundle: Path, here: Here) -> None:
    device, proxy = link
    proxy.cut_after = LARGE // 2
    done = here("deploy", str(large_bundle), "jetson", "--ssh", device.ssh, "--no-profile", "--json")
    (host,) = deliveries(done)
    assert proxy.connections == 2
    assert LARGE < proxy.sent < 1.2 * LARGE
    assert "connection broke, trying again" in done.err
    assert open_bundle(Path(host["bundle"])).digest == open_bundle(large_bundle).digest
    is_tidy(device)


def test_a_connection_that_stays_away_is_told_and_the_same_command_goes_on(
    link: Link, large_bundle: Path, here: Here
) -> None:
    device, proxy = link
    command = ("deploy", str(large_bundle), "jetson", "--ssh", device.ssh, "--no-profile", "--json")
    proxy.cut_after, proxy.refusing_from = LARGE // 2, 1
    done = here(*command)
    assert done.code == 2
    assert re.search(
        r"^edgeprune: jetson: the connection broke \(.*\)\. Run the same command again: .*\n\Z", done.err, re.M
    )
    proxy.refusing_from = None
    deliveries(here(*command))
    assert LARGE < proxy.sent < 1.2 * LARGE
    is_tidy(device)


def test_a_command_killed_in_the_transfer_goes_on(link: Link, large_bundle: Path, tmp_path: Path, here: Here) -> None:
    device, proxy = link
    command = ("deploy", str(large_bundle), "jetson", "--ssh", device.ssh, "--no-profile", "--json")
    proxy.bytes_per_s = 1.5 * LARGE
    process = started(*command, cwd=tmp_path)
    until(lambda: proxy.sent > LARGE // 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert proxy.sent < LARGE
    deliveries(here(*command))
    assert LARGE < proxy.sent < 1.2 * LARGE
    is_tidy(device)


def _pid(device: Device) -> str | None:
    """Of the job that measures there."""
    for folder in (device.folder / "jobs").glob("*"):
        options = folder / "pid"
        if options.is_file() and "profile" in _words(options.read_text()):
            return options.read_text()
    return None


def _words(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def test_a_measurement_outlives_its_connection(link: Link, bundle: Path, here: Here) -> None:
    device, proxy = link
    seen: list[str | None] = []

    def watch() -> None:
        until(lambda: _pid(device))
        seen.append(_pid(device))
        proxy.cut()
        until(lambda: proxy.connections == 2)
        time.sleep(0.5)
        seen.append(_pid(device))

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = here("deploy", str(bundle), "jetson", "--ssh", device.ssh, "--profile-options", "--seconds 3", "--json")
    watcher.join()
    (host,) = deliveries(done)
    assert seen[0] == seen[1] is not None
    assert proxy.connections == 2
    assert Path(host["profile_file"]).is_file()
    is_tidy(device)


def test_a_measurement_outlives_its_command_and_waits_for_the_next(
    link: Link, bundle: Path, tmp_path: Path, here: Here
) -> None:
    device, _ = link
    command = ("deploy", str(bundle), "jetson", "--ssh", device.ssh, "--profile-options", "--seconds 1.5", "--json")
    process = started(*command, cwd=tmp_path)
    until(lambda: _pid(device))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (bundle.parent / "profiles").exists()
    until(lambda: list((device.folder / "jobs").glob("*/code")))
    (host,) = deliveries(here(*command))
    assert host["waiting"]
    assert Path(host["profile_file"]).is_file()
    is_tidy(device)


def test_two_devices_at_once_each_with_wheels_for_its_python(
    jetson: Device, desktop: Device, bundle: Path, tmp_path: Path, here: Here
) -> None:
    both = tmp_path / "both"
    both.write_text(jetson.config.read_text() + desktop.config.read_text())
    done = here("deploy", str(bundle), "jetson", "desktop", "--ssh", f"ssh -F {both}", *BRIEF, "--json")
    hosts = deliveries(done)
    assert [host["host"] for host in hosts] == ["jetson", "desktop"]
    here_now = ".".join(map(str, sys.version_info[:2]))
    assert [host["device"]["python"].rpartition(".")[0] for host in hosts] == ["3.10", here_now]
    assert len({host["profile_file"] for host in hosts}) == 2
    for device in (jetson, desktop):
        is_tidy(device)
    cleaned = here("deploy", "--clean", "desktop", "--ssh", f"ssh -F {both}")
    assert cleaned.out == "desktop: all removed\n"
    assert not desktop.folder.exists()


def test_one_device_that_fails_does_not_stop_the_other(
    jetson: Device, bundle: Path, tmp_path: Path, here: Here
) -> None:
    with start(tmp_path / "old", "old", "/bin/false") as old:
        both = tmp_path / "both"
        both.write_text(jetson.config.read_text() + old.config.read_text())
        done = here(
            "deploy",
            str(bundle),
            "old",
            "jetson",
            "--ssh",
            f"ssh -F {both}",
            "--python",
            "python3",
            "--no-profile",
            "--json",
        )
        failed, delivered = json.loads(done.out)["hosts"]
        assert done.code == 2
        assert delivered["answers"]["checked"] == 3
        assert done.err.endswith(f"edgeprune: {failed['error']}\n")
        assert "no Python 3.10 or later" in failed["error"]
        assert not list(old.home.iterdir())
