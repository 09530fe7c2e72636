"""Which machine this is: what it says of itself, read from /proc and /sys."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from edgeprune.engine.cores import physical_cores, usable_cpus
from edgeprune.measure.board import Board, read_board
from edgeprune.measure.clocks import Clocks, read_clocks
from edgeprune.measure.facts import field, text

INT8_FLAGS = ("avx2", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""The flags of /proc/cpuinfo that decide which INT8 kernels run."""
VNNI = frozenset({"avx512_vnni", "avx_vnni"})


@dataclass(frozen=True)
class Host:
    """A machine, as it describes itself."""

    device: str
    """The board of a Jetson or another device-tree machine; else the kind of system."""
    processor: str
    gpus: tuple[str, ...]
    cores: int
    """Physical, and usable by this process."""
    memory_bytes: int
    flags: tuple[str, ...]
    """Those of INT8_FLAGS that are there."""
    governor: str | None
    board: Board | None = None
    """A Jetson's."""
    clocks: Clocks | None = None

    @property
    def lacks_vnni(self) -> bool:
        """An x86 whose U8S8 kernels saturate at 16 bits."""
        return "avx2" in self.flags and not VNNI & set(self.flags)


def probe(root: Path = Path("/")) -> Host:
    """Read this machine's description; what it does not tell is left empty."""
    cpuinfo = text(root / "proc/cpuinfo")
    flags = _flags(cpuinfo)
    model = text(root / "proc/device-tree/model")
    memory = field(r"^MemTotal:\s+(\d+) kB", text(root / "proc/meminfo"))
    clocks = read_clocks(root, usable_cpus()[0])
    return Host(
        device=model or f"{platform.machine()} {platform.system()}",
        processor=_processor(cpuinfo),
        gpus=_gpus(root),
        cores=physical_cores(root),
        memory_bytes=1024 * int(memory) if memory else _installed_memory(),
        flags=tuple(flag for flag in INT8_FLAGS if flag in flags),
        governor=clocks.governor,
        board=read_board(root),
        clocks=clocks,
    )


def _flags(cpuinfo: str) -> set[str]:
    """`flags` on x86, `Features` on Arm."""
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return set(line[1].split()) if line else set()


def _processor(cpuinfo: str) -> str:
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if name:
        return name[1].strip()
    arm = [re.search(rf"^CPU {key}\s*:\s*(\S+)$", cpuinfo, re.MULTILINE) for key in ("implementer", "part")]
    known = [match[1] for match in arm if match]
    if len(known) == 2:
        return f"{platform.machine()} (implementer {known[0]}, part {known[1]})"
    return platform.processor() or platform.machine()


def _gpus(root: Path) -> tuple[str, ...]:
    """Names that the NVIDIA driver of a desktop GPU lists."""
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    names = (re.search(r"^Model:\s*(.+)$", text(file), re.MULTILINE) for file in files)
    return tuple(name[1].strip() for name in names if name)


def _installed_memory() -> int:
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
