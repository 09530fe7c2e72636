"""Which JetPack a Jetson runs: by its package, else by the release of its Linux."""

from __future__ import annotations

import re
from pathlib import Path

L4T = {
    "35": "5.1", "36.2": "6.0", "36.3": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1", "36.4.7": "6.2.1",
    "36.5": "6.2.2", "38.2": "7.0", "38.4": "7.1", "39.2": "7.2",
}  # fmt: skip
"""Release of Jetson Linux -> JetPack (NVIDIA's JetPack archive, and the L4T releases of OE4T/meta-tegra)."""
Version = tuple[int, ...]


def jetpack_version(root: Path = Path("/")) -> Version | None:
    """The version as numbers, (6, 2, 1); None on other machines, or where nothing tells it."""
    package = re.search(
        r"^Package: nvidia-jetpack$(?:\n(?!\n).*)*?\nVersion: (\d+(?:\.\d+)*)",
        _text(root / "var/lib/dpkg/status"),
        re.M,
    )
    if package is not None:
        return _numbers(package[1])
    line = re.match(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)", _text(root / "etc/nv_tegra_release"))
    if line is None:
        return None
    release = f"{line[1]}.{line[2]}"
    known = [entry for entry in L4T if f"{release}.".startswith(f"{entry}.")]
    return _numbers(L4T[max(known, key=len)]) if known else None


def _numbers(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
