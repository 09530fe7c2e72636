"""A connection to a device: the OpenSSH client, the device's end of ours behind it, requests and replies.

The OpenSSH client and not a library: the user's configuration, keys, agents and jump hosts work as they do in a
terminal. `BatchMode` since nobody answers prompts of several hosts at once.
"""

from __future__ import annotations

import json
import queue
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from edgeprune.deploy.device.wire import CHUNK, READY
from edgeprune.deploy.pieces import Piece
from edgeprune.deploy.said import all_printable, printable
from edgeprune.deploy.start import NO_PYTHON, remote_command, sources
from edgeprune.errors import EdgepruneError

OPTIONS = {
    "BatchMode": "yes",
    "ClearAllForwardings": "yes",  # a forwarded port can be bound once only, and hosts are many
    "ConnectTimeout": "15",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",
}
NOISE = 1 << 16
"""Bytes that a login shell may print before our first line."""
ADVICE = {
    "permission denied": "Set up a key with ssh-copy-id, or start ssh-agent and ssh-add yours.",
    "host key verification failed": "Connect once with ssh, and see whether its key is the one you know.",
    "could not resolve": "Check the name.",
    "connection refused": "Is sshd running there?",
    "timed out": "Is it on, and in reach?",
    "no route to host": "Is it on, and in reach?",
}

Show = Callable[[dict[str, Any]], None]


class Lost(Exception):
    """The connection broke; the device keeps what arrived."""


@dataclass(frozen=True)
class Reach:
    """How devices are reached, and where things go there."""

    ssh: str = "ssh"
    """The client's command; it may have options of its own."""
    python: str | None = None
    """The device's interpreter; None looks for one of 3.10 or later."""
    folder: str = "~/.local/share/edgeprune"


class Connection:
    """Requests to one device; `root` is our folder there, `progress` how many signs there were of work getting on."""

    def __init__(self, host: str, process: subprocess.Popen[bytes], root: str) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.host, self.root, self.progress = host, root, 0
        self._process, self._stdin = process, process.stdin
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._said: list[str] = []
        threading.Thread(target=_to_the_end, args=(self._read, process.stdout), daemon=True).start()
        self._listener = threading.Thread(target=_to_the_end, args=(self._listen, process.stderr), daemon=True)
        self._listener.start()

    def greet(self) -> None:
        """Send the device's end and wait for its first line.

        Raises:
            EdgepruneError: no connection, or no Python there.
        """
        try:
            self._write(sources())
            ready = self._next() == {"ready": READY}
        except Lost as lost:
            ready, reason = False, str(lost)
        else:
            reason = "its first line is not ours"
        if not ready:
            raise EdgepruneError(self._greeting_failed(reason))

    def ask(self, verb: str, show: Show | None = None, **fields: Any) -> Any:
        """Send a request and return its answer; `show` hears what comes before it.

        Raises:
            EdgepruneError: the device refuses.
            Lost: the connection broke.
        """
        self._send(verb, fields)
        return self._answer(show)

    def send(self, pieces: Sequence[Piece], show: Show | None = None) -> list[str]:
        """Send what the device lacks of some files, each from where it broke off, and return the damaged ones' hashes.

        `show` hears `{"received": bytes, "of": bytes}`.
        """
        by_hash = {piece.sha256: piece for piece in pieces}
        self._send("receive", {"files": [(sha, piece.bytes) for sha, piece in by_hash.items()]})
        wanted: list[tuple[str, int]] = self._until("wanted", show)
        total = sum(by_hash[sha].bytes - offset for sha, offset in wanted)

        def told(message: dict[str, Any]) -> None:
            if show is not None:
                show(message | {"of": total})

        for sha, offset in wanted:
            for chunk in _chunks(by_hash[sha], offset):
                self._write(chunk)
                while not self._lines.empty():
                    told(self._next())
        answer: dict[str, list[str]] = self._answer(told)
        return answer["damaged"]

    def close(self) -> None:
        with suppress(OSError):  # of what was not sent
            self._stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, verb: str, fields: dict[str, Any]) -> None:
        self._write(json.dumps({"verb": verb, "root": self.root} | fields).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except OSError:
            while True:  # it may have said why it stopped listening
                self._next()

    def _answer(self, show: Show | None) -> Any:
        return self._until("done", show)

    def _until(self, key: str, show: Show | None) -> Any:
        while key not in (message := self._next()):
            if show is not None:
                show(message)
        return message[key]

    def _next(self) -> dict[str, Any]:
        message = self._lines.get()
        if message is None:
            self._lines.put(None)
            raise Lost(self._last_words())
        if "error" in message:
            raise EdgepruneError(f"{self.host}: {message['error']}")
        self.progress += bool(message.get("received") or message.get("seconds"))
        return message

    def _read(self, stream: IO[bytes]) -> None:
        ready, noise = False, 0
        try:
            for line in stream:
                if not ready and READY.encode() in line:
                    ready, line = True, line[line.rindex(b"{") :]  # a greeting need not end its line
                noise += 0 if ready else len(line)
                if noise > NOISE or (ready and not line.endswith(b"\n")):
                    break
                if ready:
                    self._lines.put(all_printable(json.loads(line)))
        except ValueError:
            self._said.append("it sends what is not ours")
        finally:
            self._lines.put(None)

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._said.append(printable(line.decode(errors="replace")).strip())
            del self._said[:-20]

    def _last_words(self) -> str:
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            code = None
        self._listener.join(timeout=2)  # a master connection that stays in the background keeps the stream open
        lines = [line for line in self._said if line]
        return lines[-1].rstrip(".") if lines else f"ssh ended with exit code {code}"

    def _greeting_failed(self, reason: str) -> str:
        if self._process.poll() == NO_PYTHON:
            return f"{self.host}: {reason}. Install one, or name it with --python."
        advice = next((advice for sign, advice in ADVICE.items() if sign in reason.lower()), "Does ssh work to it?")
        return f"{self.host}: no connection ({reason}). {advice}"


def _to_the_end(work: Callable[[IO[bytes]], None], stream: IO[bytes]) -> None:
    with stream:
        work(stream)


@contextmanager
def connect(host: str, reach: Reach) -> Iterator[Connection]:
    """Open a connection to a host and close it.

    Raises:
        EdgepruneError: no connection, or no Python there.
    """
    options = [f"-o{name}={value}" for name, value in OPTIONS.items()]
    command = [*shlex.split(reach.ssh), *options, "--", host, remote_command(reach.python)]
    pipe = subprocess.PIPE
    try:
        # In a session of its own, so that Ctrl-C does not look like a connection that broke.
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except OSError as error:
        raise EdgepruneError(
            f"{command[0]}: {error.strerror}. Install the OpenSSH client, or name it with --ssh."
        ) from None
    connection = Connection(host, process, reach.folder)
    try:
        connection.greet()
        yield connection
    finally:
        connection.close()


def _chunks(piece: Piece, offset: int) -> Iterator[bytes]:
    """The bytes of a file from an offset on, no more and no less than were hashed."""
    left = piece.bytes - offset
    with piece.path.open("rb") as stream:
        stream.seek(offset)
        while left:
            chunk = stream.read(min(CHUNK, left))
            if not chunk:
                raise EdgepruneError(f"{piece.path} became shorter while it was sent. Run the same command again.")
            left -= len(chunk)
            yield chunk
