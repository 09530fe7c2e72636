"""Device: what a device says of itself when it is greeted."""

from __future__ import annotations

from edgeprune.spec.strict import Strict


class Device(Strict):
    root: str
    """Our folder there."""
    board: str
    machine: str
    python: str
    implementation: str
    interpreter: str
    abi: str
    libc: str
    free_bytes: int
    """In the file system of our folder."""

    @property
    def kind(self) -> list[str]:
        """What decides which wheels fit."""
        return [self.machine, self.python, self.implementation, self.abi, self.libc]
