"""A real sshd on loopback, with its own port, keys and configuration; each one is a device with a home of its own.

sshd is looked for in EDGEPRUNE_SSHD, on PATH and in /usr/sbin. It need not be installed: Debian's packages can be
unpacked aside.

    apt-get download openssh-server libwrap0
    for package in *.deb; do dpkg -x "$package" aside; done
    EDGEPRUNE_SSHD=$PWD/aside/usr/sbin/sshd LD_LIBRARY_PATH=$PWD/aside/usr/lib/x86_64-linux-gnu pytest tests/deploy

Where the kernel lets us, what a device runs has no network: its commands are started in a network namespace without
any interface. Root's sshd gets a mount namespace, with the user and the folder that it wants and perhaps a small disk.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

OFFLINE = ("unshare -n", "unshare -rn")
"""As root, and as anybody where user namespaces are allowed."""
PREPARED = """\
set -e
grep -q ^sshd: /etc/passwd || {
    { cat /etc/passwd; echo "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin"; } >"$1/passwd"
    mount --bind "$1/passwd" /etc/passwd
}
mount -t tmpfs none /run
mkdir -m 755 /run/sshd
[ -z "$2" ] || mount -t tmpfs -o "size=$2m" none "$1/home"
shift 2
exec "$@"
"""
"""What stands before root's sshd, in its mount namespace: `sh -c PREPARED sh FOLDER DISK_MB SSHD...`."""


def find_sshd() -> str:
    """Return sshd's absolute path, or skip the test saying why."""
    found = os.environ.get("EDGEPRUNE_SSHD") or shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(
            "no sshd here: install openssh-server, or unpack one and name it in EDGEPRUNE_SSHD (sshd.py says how)"
        )
    return found


def offline_prefix() -> str | None:
    """How to start a command without network here; None where the kernel does not let us."""
    for prefix in OFFLINE:
        if subprocess.run([*prefix.split(), "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    return None


@dataclass(frozen=True)
class Device:
    """A host of the ssh configuration `config`, whose users have `home`."""

    name: str
    home: Path
    config: Path
    port: int

    @property
    def ssh(self) -> str:
        return f"ssh -F {self.config}"

    @property
    def folder(self) -> Path:
        """Where edgeprune puts things."""
        return self.home / ".local" / "share" / "edgeprune"

    def through(self, proxy: Proxy) -> Device:
        """Return the same device, reached over a proxy."""
        config = self.config.with_name(f"config-{proxy.port}")
        config.write_text(self.config.read_text().replace(f"Port {self.port}\n", f"Port {proxy.port}\n"))
        return Device(self.name, self.home, config, proxy.port)


def prepared(folder: Path, disk_mb: int | None) -> list[str]:
    """What stands before sshd's command; a disk of some size needs root, else the test is skipped."""
    if (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ["unshare", "-m", "sh", "-c", PREPARED, "sh", str(folder), str(disk_mb or "")]
    if disk_mb is not None:
        pytest.skip("only root can mount a small disk")
    return []


@contextmanager
def start(
    folder: Path, name: str, python: str, disk_mb: int | None = None, environment: dict[str, str] | None = None
) -> Iterator[Device]:
    """Run a device in a folder, with an interpreter that its users know as python3; it is stopped at the end."""
    sshd, port, home = find_sshd(), free_port(), folder / "home"
    home.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(python)
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    path = f"{folder}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    surroundings = {"HOME": str(home), "PATH": path} | (environment or {})
    prefix = offline_prefix()
    isolated = [f'ForceCommand exec {prefix} sh -c "$SSH_ORIGINAL_COMMAND"'] if prefix else []
    settings = [
        "ListenAddress 127.0.0.1",
        f"Port {port}",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/user_key.pub",
        "StrictModes no",  # temporary folders belong to all
        "UsePAM no",
        "PasswordAuthentication no",
        "PidFile none",
        "SetEnv " + " ".join(f'"{key}={value}"' for key, value in surroundings.items()),
        *isolated,
    ]
    (folder / "sshd_config").write_text("\n".join([*settings, ""]))
    host_key = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(" ".join([name, *host_key]) + "\n")
    (folder / "config").write_text(
        f"Host {name}\nHostName 127.0.0.1\nPort {port}\nHostKeyAlias {name}\nUser {pwd.getpwuid(os.getuid()).pw_name}\n"
        f"IdentityFile {folder}/user_key\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile none\n"
    )
    with (folder / "log").open("wb") as log:
        command = [*prepared(folder, disk_mb), sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
        process = subprocess.Popen(command, stderr=log)
    try:
        for _ in range(100):
            if process.poll() is not None or "Server listening" in (folder / "log").read_text():
                break
            time.sleep(0.05)
        if process.poll() is not None:
            pytest.skip(f"sshd does not start here: {(folder / 'log').read_text().strip()}")
        yield Device(name, home, folder / "config", port)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Proxy:
    """Forwards connections to a port, and breaks them: after some bytes towards the device, now, or without a word."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.sent = 0
        """Bytes that went towards the device."""
        self.connections = 0
        self.cut_after: int | None = None
        self.refusing_from: int | None = None
        """Connections beyond so many are refused."""
        self.frozen_after: int | None = None
        """Bytes towards the device after which the open connection says nothing any more, as when a cable is pulled."""
        self.bytes_per_s = float("inf")
        self.closed = False
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def cut(self) -> None:
        """Break every connection."""
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who waits for it
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._open):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.refusing_from is not None and self.connections >= self.refusing_from:
                    near.close()
                    continue
                self.connections += 1
                far = socket.create_connection(("127.0.0.1", self.target))
                self._open += [near, far]
                frozen = threading.Event()
                self._start(self._forward, near, far, True, frozen)
                self._start(self._forward, far, near, False, frozen)

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool, frozen: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if counted and self.frozen_after is not None and self.sent > self.frozen_after:
                    self.frozen_after = None
                    frozen.set()
                while frozen.is_set() and not self.closed:
                    time.sleep(0.05)
                time.sleep(len(data) / self.bytes_per_s)
                if counted and self.cut_after is not None and self.sent + len(data) > self.cut_after:
                    self.cut_after = None
                    self.cut()
                    return
                sink.sendall(data)
                self.sent += len(data) if counted else 0
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
