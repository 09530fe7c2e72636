"""Names are names: no shell reads more into a host, a path or a file; the folder there is its user's alone."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprune.deploy.connection import Connection, Reach, connect
from edgeprune.deploy.hosts import host_folder, refuse_hosts
from edgeprune.deploy.pieces import data_pieces
from edgeprune.deploy.said import all_printable
from edgeprune.deploy.stock import greet
from edgeprune.errors import EdgepruneError
from tests.conftest import Here
from tests.deploy.sshd import Device

NASTY = "it's; touch pwned; $(touch pwned) `touch pwned` \"&\\"


@pytest.mark.parametrize(
    "host",
    [
        "-oProxyCommand=touch pwned",
        "",
        " ",
        "a b",
        "a;touch pwned",
        "$(touch pwned)",
        "a`b`",
        "runs/bundle",
        "a\n",
        "ssh://-x",
    ],
)
def test_what_is_no_host_is_refused_before_anything_is_started(host: str, bundle: Path, here: Here) -> None:
    for command in ((str(bundle), "--clean"), (str(bundle),)):
        done = here("deploy", *command, "--ssh", "touch started", "--", host)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"edgeprune: {' '.join(repr(host).split())} is no host.")
        assert not Path("started").exists()
        assert not Path("pwned").exists()


def test_hosts_of_every_kind_are_taken() -> None:
    hosts = ["jetson", "nvidia@10.0.0.7", "ssh://nvidia@orin.local:2222", "me@fe80::1%eth0", "ssh://me@[::1]:22"]
    refuse_hosts(hosts)
    assert [host_folder(host) for host in hosts[1:3]] == ["nvidia@10.0.0.7", "nvidia@orin.local-2222"]
    with pytest.raises(EdgepruneError, match="jetson is named twice"):
        refuse_hosts(["jetson", "other", "jetson"])


@pytest.mark.parametrize("option", ["--python", "--folder"])
def test_a_path_there_is_no_command(bare: Device, bundle: Path, here: Here, option: str) -> None:
    done = here("deploy", str(bundle), "bare", "--ssh", bare.ssh, option, NASTY)
    assert done.code == 2
    assert NASTY in done.err
    assert not list(bare.home.rglob("*"))


@pytest.fixture
def there(bare: Device) -> Iterator[Connection]:
    """A connection to a folder of a bad name."""
    reach = Reach(bare.ssh, folder=f"~/{NASTY}/edgeprune")
    with connect(bare.name, reach) as connection:
        greet(connection)
        yield connection
    with connect(bare.name, reach) as connection:  # a refusal ends a connection
        greet(connection)
        connection.ask("clean")


def test_files_of_every_name_arrive_as_they_are(there: Connection, bare: Device, tmp_path: Path) -> None:
    names = ("-rf", "a b/'c'.png", "$(touch pwned)", "line\nbreak", "é.png")
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(os.urandom(1000))
    pieces = data_pieces(tmp_path / "data")
    assert there.send(pieces) == []
    there.ask("place", kind="data", name="x", files=[(piece.name, piece.sha256) for piece in pieces])
    root = bare.home / NASTY / "edgeprune"
    for name in names:
        assert (root / "data" / "x" / name).read_bytes() == (tmp_path / "data" / name).read_bytes()
    assert not list(bare.home.rglob("pwned"))


def test_the_folder_is_its_users_alone(there: Connection, bare: Device, tmp_path: Path) -> None:
    root = bare.home / NASTY / "edgeprune"
    root.mkdir(parents=True)
    root.chmod(0o777)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_bytes(b"a")
    pieces = data_pieces(tmp_path / "data")
    there.send(pieces)
    there.ask("place", kind="data", name="x", files=[("a", pieces[0].sha256)])
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_file_that_would_leave_its_folder_is_refused(there: Connection) -> None:
    sha = hashlib.sha256(b"").hexdigest()
    with pytest.raises(EdgepruneError, match="leads out of its folder"):
        there.ask("place", kind="data", name="x", files=[("../../x", sha)])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(there: Connection, bare: Device) -> None:
    root = bare.home / NASTY / "edgeprune"
    root.mkdir(parents=True)
    (root / ".edgeprune").touch()
    os.chown(root, 65534, 65534)
    try:
        with pytest.raises(EdgepruneError, match="belongs to another user"):
            there.ask("receive", files=[])
    finally:
        os.chown(root, 0, 0)


def test_a_request_that_fails_for_want_of_us_is_told_and_not_tried_again(bare: Device) -> None:
    with connect(bare.name, Reach(bare.ssh)) as connection, pytest.raises(EdgepruneError, match=r"KeyError .*report"):
        connection.ask("no such verb")


def test_a_device_cannot_steer_the_terminal() -> None:
    document = {"board": "\x1b]0;owned\x07Orin", "lines": ["a\nb", 3, None], "\u202eright": {}}
    plain = {"board": " ]0;owned Orin", "lines": ["a\nb", 3, None], " right": {}}
    assert all_printable(document) == plain
