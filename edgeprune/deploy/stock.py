"""Stock a device: its environment and its folders, sent from where they broke off and put together there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.deploy.connection import Connection
from edgeprune.deploy.device_facts import Device
from edgeprune.deploy.kit import Kit, make_kit
from edgeprune.deploy.order import Folder, Order, Show, State
from edgeprune.deploy.pieces import Piece
from edgeprune.errors import EdgepruneError
from edgeprune.spec.strict import parse

TRIES = 2
SLACK = 1.05
"""Blocks of a file system are not filled to the last byte."""


@dataclass(frozen=True)
class Stocked:
    """A device with everything on it; all paths are the device's."""

    device: Device
    python: str
    """Of the virtual environment."""
    bundle: str
    data: str | None


def stock(connection: Connection, order: Order, show: Show) -> Stocked:
    """Send what the device lacks, and put it together there.

    Raises:
        EdgepruneError: the device refuses, has no room, or no wheels fit it.
    """
    show(State("looking"))
    device = greet(connection)
    kit = make_kit(connection, device, order.wants, lambda step: show(State(step)))
    name = kit.name(device)
    show(State("checking"))
    lacking = [folder for folder in order.folders if not _holds(connection, folder)]
    python = connection.ask("environment", name=name, system=kit.system, wheels=[], pip="")
    pieces = [piece for folder in lacking for piece in folder.pieces]
    if python is None:
        pieces += [kit.pip, *kit.wheels]
    _refuse_no_room(connection, device, pieces, kit if python is None else None)
    if pieces:
        _send(connection, pieces, show)
    if python is None:
        show(State("installing"))
        wheels = [(wheel.name, wheel.sha256) for wheel in kit.wheels]
        python = connection.ask("environment", name=name, system=kit.system, wheels=wheels, pip=kit.pip.sha256)
    for folder in lacking:
        files = [(piece.name, piece.sha256) for piece in folder.pieces]
        connection.ask("place", kind=folder.kind, name=folder.name, files=files)
    connection.ask("empty", used=[piece.sha256 for piece in (*pieces, kit.pip)])
    data = None if order.data is None else _path(device, order.data)
    return Stocked(device, python, _path(device, order.bundle), data)


def greet(connection: Connection) -> Device:
    """Learn what the device is, and where our folder is there."""
    device = parse(Device, connection.ask("hello"), connection.host)
    connection.root = device.root
    return device


def _holds(connection: Connection, folder: Folder) -> bool:
    files = [(piece.name, piece.sha256) for piece in folder.pieces]
    held: bool = connection.ask("holds", kind=folder.kind, name=folder.name, files=files)
    return held


def _path(device: Device, folder: Folder) -> str:
    inside = folder.pieces[0].name if folder.is_file else ""
    return "/".join(part for part in (device.root, folder.kind, folder.name, inside) if part)


def _refuse_no_room(connection: Connection, device: Device, pieces: Sequence[Piece], kit: Kit | None) -> None:
    arrived: int = connection.ask("arrived", files=[piece.sha256 for piece in pieces])
    needed = sum(piece.bytes for piece in pieces) - arrived + (kit.unpacked_bytes if kit else 0)
    if device.free_bytes < SLACK * needed:
        raise EdgepruneError(
            f"{connection.host}: {device.free_bytes / 1e6:.0f} MB are free below {device.root}, and "
            f"{SLACK * needed / 1e6:.0f} MB are needed. Free some, or name another folder with --folder."
        )


def _send(connection: Connection, pieces: Sequence[Piece], show: Show) -> None:
    def tell(message: dict[str, int]) -> None:
        show(State("sending", message.get("received", 0), message.get("of", 0)))

    for _ in range(TRIES):
        damaged = set(connection.send(pieces, tell))
        pieces = [piece for piece in pieces if piece.sha256 in damaged]
        if not pieces:
            return
    raise EdgepruneError(
        f"{connection.host}: {pieces[0].name} arrives with other bytes than it has here. Check the device's disk."
    )
