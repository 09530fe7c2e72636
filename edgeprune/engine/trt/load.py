"""The tensorrt package, or one line that says what is wrong with it."""

from __future__ import annotations

import importlib.util
from typing import Any

from edgeprune.errors import EdgepruneError

GET = (
    "TensorRT comes with JetPack on a Jetson (apt install python3-libnvinfer, and a virtual environment with "
    "--system-site-packages); elsewhere: pip install tensorrt --extra-index-url https://pypi.nvidia.com"
)


def installed() -> bool:
    """Whether this Python has it; nothing is loaded."""
    return importlib.util.find_spec("tensorrt") is not None


def load_tensorrt() -> Any:
    """Import it.

    Raises:
        EdgepruneError: it is not here, or its libraries are not.
    """
    try:
        import tensorrt
    except ModuleNotFoundError:
        raise EdgepruneError(f"TensorRT is not installed for this Python. {GET}") from None
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EdgepruneError(f"tensorrt cannot be loaded ({reason}). {GET}") from error
    if not hasattr(tensorrt, "Builder"):
        raise EdgepruneError(f"the tensorrt package here is an empty shell. {GET}")
    return tensorrt
