"""What goes wrong with a device is one line that says what to do, and nothing half-done stays there."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from edgeprune.deploy import stock
from tests.conftest import Here
from tests.deploy.conftest import python310
from tests.deploy.looks import BRIEF, LARGE, deliveries, is_tidy, run_there, started, until
from tests.deploy.sshd import Device, Proxy, free_port, start
from tests.tiny import Done


def _reason(done: Done) -> str:
    """The one line of a fault, after the lines that say what each host does."""
    assert done.code == 2, done
    *before, last = done.err.splitlines()
    assert not any(line.startswith(("edgeprune: ", "Traceback")) for line in before)
    return last


def _client(device: Device, old: str, new: str) -> str:
    """A client that is configured otherwise."""
    config, text = device.config.with_name("config-other"), device.config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return f"ssh -F {config}"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("HostName 127.0.0.1", "HostName no-such-host.invalid", r"Could not resolve hostname .*\)\. Check the name\."),
        ("known_hosts\n", "none\n", r"Host key verification failed\)\. Connect once with ssh, and see .*\."),
        ("user_key\n", "host_key\n", r"Permission denied .*\)\. Set up a key with ssh-copy-id, .*\."),
        ("Port ", "Port {free} #", r"Connection refused\)\. Is sshd running there\?"),
        ("Port ", "NoSuchOption 1\nPort ", r"bad configuration options\)\. Does ssh work to it\?"),
    ],
    ids=["unknown host", "unknown host key", "wrong key", "no sshd", "bad configuration"],
)
def test_a_host_that_is_not_reached(bare: Device, bundle: Path, here: Here, old: str, new: str, told: str) -> None:
    ssh = _client(bare, old, new.format(free=free_port()))
    reason = _reason(here("deploy", str(bundle), "bare", "--ssh", ssh))
    assert re.fullmatch(r"edgeprune: bare: no connection \(.*" + told, reason), reason
    assert not list(bare.home.iterdir())


def test_a_host_key_that_changed(bare: Device, bundle: Path, here: Here) -> None:
    others = bare.config.with_name("known_others")
    key = bare.config.with_name("user_key.pub").read_text().split()[:2]
    others.write_text(" ".join([bare.name, *key]) + "\n")
    reason = _reason(here("deploy", str(bundle), "bare", "--ssh", _client(bare, "/known_hosts", f"/{others.name}")))
    assert "Host key verification failed" in reason


def test_a_python_that_is_not_there(bare: Device, bundle: Path, here: Here) -> None:
    reason = _reason(here("deploy", str(bundle), "bare", "--ssh", bare.ssh, "--python", "/opt/no/python3"))
    told = "no Python 3.10 or later there (looked for /opt/no/python3). Install one, or name it with --python."
    assert reason == f"edgeprune: bare: {told}"


def test_a_client_that_is_not_there(bundle: Path, here: Here) -> None:
    reason = _reason(here("deploy", str(bundle), "bare", "--ssh", "no-such-ssh"))
    told = "no-such-ssh: No such file or directory. Install the OpenSSH client, or name it with --ssh."
    assert reason == f"edgeprune: bare: {told}"


def test_a_shell_that_says_more_than_it_is_asked(bare: Device, here: Here) -> None:
    greeting = bare.config.with_name("greeting")
    greeting.write_text('#!/bin/sh\nprintf "welcome\\nto the lab: "; exec ssh "$@"\n')
    greeting.chmod(0o755)
    done = here("deploy", "--clean", "bare", "--ssh", f"{greeting} -F {bare.config}")
    assert done.out == "bare: nothing was there\n"


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("relative", "relative is no absolute path. Give --folder one that begins with / or ~."),
        ("~no-such-user/x", "~no-such-user/x: no such user there. Give --folder an absolute path."),
        ("/etc", "/etc is not a folder that deploy made, and stays."),
    ],
)
def test_a_folder_that_is_not_ours(bare: Device, here: Here, folder: str, told: str) -> None:
    reason = _reason(here("deploy", "--clean", "bare", "--ssh", bare.ssh, "--folder", folder))
    assert reason == f"edgeprune: bare: {told}"


def test_a_disk_that_is_too_small_and_one_that_fills_up(
    index: None, large_bundle: Path, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    del index
    device_started = start(tmp_path / "small", "small", python310(), disk_mb=12)
    with device_started as device, closing(Proxy(device.port)) as proxy:
        command = ("deploy", str(large_bundle), "small", "--ssh", device.through(proxy).ssh, "--no-profile", "--json")
        reason = _reason(here(*command))
        assert re.fullmatch(r"edgeprune: small: \d+ MB are free below .* needed\. Free some, or .*--folder\.", reason)
        with monkeypatch.context() as patch:
            patch.setattr(stock, "SLACK", 0)
            reason = _reason(here(*command))
        told = "No space left on device. Free some space there, then run the same command again: "
        assert reason == f"edgeprune: small: {told}it goes on where it stopped."
        assert proxy.sent < LARGE
        assert run_there(device, f"mount -o remount,size=900m {device.home}").returncode == 0
        deliveries(here(*command))
        assert not run_there(device, f"find {device.folder}/inbox -type f").stdout


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    link: tuple[Device, Proxy], large_bundle: Path, tmp_path: Path, here: Here
) -> None:
    device, proxy = link
    command = ("deploy", str(large_bundle), "jetson", "--ssh", device.ssh, "--no-profile", "--json")
    proxy.bytes_per_s = 1.5 * LARGE
    process = started(*command, cwd=tmp_path, stderr=subprocess.PIPE)
    until(lambda: proxy.sent > LARGE // 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert not out
    *before, last = err.splitlines()
    assert last == "edgeprune: interrupted. Run the same command again: it goes on where it stopped."
    assert not any("broke" in line for line in before)
    deliveries(here(*command))
    assert LARGE < proxy.sent < 1.2 * LARGE
    is_tidy(device)


def test_a_command_that_fails_there_is_told_as_it_is_here(jetson: Device, bundle: Path, here: Here) -> None:
    command = ("deploy", str(bundle), "jetson", "--ssh", jetson.ssh)
    reason = _reason(here(*command, "--profile-options", "--runtime abacus"))
    assert reason == "edgeprune: jetson: unknown --runtime 'abacus'. Known: tensorrt, cuda, cpu."
    is_tidy(jetson)
    deliveries(here(*command, *BRIEF, "--json"))


def test_answers_that_differ_there_are_refused(jetson: Device, make_bundle, here: Here) -> None:
    wrong = make_bundle("wrong", golden_error=0.5)
    for more in ((), ("--no-profile",)):
        reason = _reason(here("deploy", str(wrong), "jetson", "--ssh", jetson.ssh, *more))
        assert reason.startswith("edgeprune: jetson: ")
        assert "golden" in reason
    assert not (wrong.parent / "profiles").exists()


@pytest.mark.slow  # half a minute passes until a silent connection is given up
def test_a_cable_that_is_pulled(link: tuple[Device, Proxy], large_bundle: Path, here: Here) -> None:
    device, proxy = link
    command = ("deploy", str(large_bundle), "jetson", "--ssh", device.ssh, "--no-profile", "--json")
    proxy.frozen_after = LARGE // 2
    done = here(*command)
    deliveries(done)
    assert "connection broke, trying again" in done.err
    assert proxy.connections >= 2
    is_tidy(device)
