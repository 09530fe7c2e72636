"""ONNX Runtime sessions on the CPU of this machine."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

# Flags of /proc/cpuinfo, any of which means that byte products are summed in 32 bits.
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
EXACT = "session.x64quantprecision"
QUIET = 3


def open_session(
    model: Path | onnx.ModelProto, options: ort.SessionOptions | None = None, exact: bool = False
) -> ort.InferenceSession:
    """Open a model; `exact`: integer sums that do not saturate, which is slower on x86 without VNNI."""
    options = options or ort.SessionOptions()
    options.log_severity_level = QUIET
    if exact and not sums_in_32_bits():
        options.add_session_config_entry(EXACT, "1")
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def sums_in_32_bits(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies unsigned by signed bytes without saturating 16-bit sums."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not VNNI.isdisjoint(flags.split())
