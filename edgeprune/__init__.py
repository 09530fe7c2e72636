"""edgeprune: compress a trained PyTorch vision model for a device, and measure what ships.

    import edgeprune

    smaller = edgeprune.prune(module, torch.randn(1, 3, 224, 224), macs=0.5)

The verbs are the commands': `compress` runs the whole chain; `prune`, `quantize` and `export` are its steps on
modules, as are `inspect` and `estimate_curvature`; `load` reads a pruned network back; `profile` measures a bundle, and
needs no torch. Nothing is loaded before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeprune.errors import EdgepruneError

if TYPE_CHECKING:
    from edgeprune.api.chain import compress, inspect
    from edgeprune.api.curving import estimate_curvature
    from edgeprune.api.cutting import prune
    from edgeprune.api.shipping import export, load, quantize
    from edgeprune.measure.profile import profile_bundle as profile

__version__ = "0.1.0"

_VERBS = {
    "compress": ("edgeprune.api.chain", "compress"),
    "prune": ("edgeprune.api.cutting", "prune"),
    "quantize": ("edgeprune.api.shipping", "quantize"),
    "export": ("edgeprune.api.shipping", "export"),
    "estimate_curvature": ("edgeprune.api.curving", "estimate_curvature"),
    "inspect": ("edgeprune.api.chain", "inspect"),
    "load": ("edgeprune.api.shipping", "load"),
    "profile": ("edgeprune.measure.profile", "profile_bundle"),
}


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'edgeprune' has no attribute {name!r}")
    module, attribute = _VERBS[name]
    return getattr(import_module(module), attribute)


__all__ = [
    "EdgepruneError",
    "__version__",
    "compress",
    "estimate_curvature",
    "export",
    "inspect",
    "load",
    "profile",
    "prune",
    "quantize",
]
