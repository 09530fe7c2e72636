"""The forms of a package: which files it holds, laid out from `templates/`.

A template is a file as it ships, in which `@WORD@` stands for what the bundle says.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import EdgepruneError
from edgeprune.packaging import deepstream, triton
from edgeprune.packaging.contents import Kind, plain_name
from edgeprune.spec.bundle import MODEL, Bundle
from edgeprune.spec.target import ALIASES, known_targets, load_target

TEMPLATES = Path(__file__).parent / "templates"
WORD = re.compile(r"@([A-Z][A-Z0-9_]*)@")
JETPACK_6, JETPACK_7 = "nvcr.io/nvidia/l4t-jetpack:r36.4.0", "nvcr.io/nvidia/tensorrt:25.09-py3"
"""JetPack 6: NVIDIA's image of L4T r36.4 (TensorRT 10.3). From 7 on Jetsons take the SBSA images (TensorRT 10.13)."""

RawPixels = Callable[[bytes, Bundle], bytes]
"""An ONNX file that takes pixels 0..255 and puts out probabilities, from the one that a bundle ships."""


@dataclass(frozen=True)
class Order:
    """What is packaged, and how."""

    bundle: Bundle
    batch: int
    """Images that a server gathers at the most."""
    raw_pixels: RawPixels | None = None
    """What DeepStream's form needs."""


def as_bundle(order: Order, folder: Path) -> None:
    """The bundle itself."""
    copy_bundle(order.bundle, folder)


def as_python(order: Order, folder: Path) -> None:
    """A folder that runs with numpy and one runtime: model.py, without installing anything of edgeprune."""
    words = _words(order)
    runtime = order.bundle.manifest.runtime
    for name, template in (("model.py", "model.py"), ("images.py", "images.py"), ("engine.py", f"engine_{runtime}.py")):
        _fill(TEMPLATES / "python" / template, folder / name, words)
    _common(order, folder, "python", words)


def as_cpp(order: Order, folder: Path) -> None:
    """The C++17 loader with its CMake project, C interface and example."""
    words = _words(order)
    root = TEMPLATES / "cpp"
    for path in sorted(root.rglob("*")):
        if path.suffix in {".cpp", ".hpp", ".h"} or path.name == "CMakeLists.txt":
            _fill(path, folder / path.relative_to(root), words)
    _common(order, folder, "cpp", words)


def as_triton(order: Order, folder: Path) -> None:
    """A model repository for each runtime that can run the bundle."""
    words = _words(order)
    triton.lay_out(order.bundle, order.batch, folder)
    _fill(TEMPLATES / "triton" / "README.md", folder / "README.md", words)
    if order.bundle.manifest.runtime == "tensorrt":
        _fill(TEMPLATES / "shared" / "build_engine.sh", folder / "build_engine.sh", words)
    copy_bundle(order.bundle, folder / "bundle")


def as_deepstream(order: Order, folder: Path) -> None:
    """A configuration of Gst-nvinfer, and the network as that plugin needs it."""
    assert order.raw_pixels is not None, "the caller gives it for this form"
    deepstream.check(order.bundle)
    words = _words(order) | {"ONNX": "raw_pixels.onnx", "SHELL_INPUT": deepstream.INPUT}
    model = order.raw_pixels((order.bundle.path / MODEL).read_bytes(), order.bundle)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "raw_pixels.onnx").write_bytes(model)
    deepstream.lay_out(order.bundle, order.batch, folder)
    _fill(TEMPLATES / "deepstream" / "README.md", folder / "README.md", words)
    _fill(TEMPLATES / "shared" / "build_engine.sh", folder / "build_engine.sh", words)
    copy_bundle(order.bundle, folder / "bundle")


FORMS: dict[Kind, Callable[[Order, Path], None]] = {
    "bundle": as_bundle,
    "cpp": as_cpp,
    "python": as_python,
    "triton": as_triton,
    "deepstream": as_deepstream,
}


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy what the manifest lists, the manifest, and its signature where there is one; nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "manifest.sha256", "manifest.json.sig", *bundle.manifest.files):
        if (bundle.path / name).is_file():
            shutil.copyfile(bundle.path / name, folder / name)


def _common(order: Order, folder: Path, form: str, words: Mapping[str, str]) -> None:
    """Readme, image recipe, plan script and bundle of the forms that are applications."""
    runtime = order.bundle.manifest.runtime
    _fill(TEMPLATES / form / "README.md", folder / "README.md", words)
    _fill(TEMPLATES / "container" / f"{form}_{runtime}", folder / "Containerfile", words)
    if runtime == "tensorrt":
        _fill(TEMPLATES / "shared" / "build_engine.sh", folder / "build_engine.sh", words)
    copy_bundle(order.bundle, folder / "bundle")


def _words(order: Order) -> dict[str, str]:
    manifest = order.bundle.manifest
    tensorrt = manifest.runtime == "tensorrt"
    return {
        "NAME": plain_name(manifest.name),
        "TARGET": manifest.target,
        "RUNTIME": "TensorRT" if tensorrt else "ONNX Runtime",
        "SHA256": order.bundle.digest,
        "ONNXRUNTIME": "OFF" if tensorrt else "ON",
        "TENSORRT": "ON" if tensorrt else "OFF",
        "PLAN_NOTE": PLAN_NOTE if tensorrt else "",
        "PLAN_OPTION": " --plan engine.plan" if tensorrt else "",
        "RUNTIME_PACKAGES": "JetPack's or NVIDIA's tensorrt" if tensorrt else "onnxruntime",
        "FLAGS": "--int8 --fp16" if manifest.precision == "int8" else "--fp16",
        "IMAGE": plain_name(manifest.name).lower(),
        "SHELL_INPUT": shlex.quote(manifest.input.name),
        "SHAPE": "x".join(map(str, manifest.input.shape)),
        "BATCH": str(order.batch),
        "ONNX": "bundle/model.onnx",
        "BASE": _base(manifest.target),
        "JETPACK_6": JETPACK_6,
        "JETPACK_7": JETPACK_7,
    }


PLAN_NOTE = """\
TensorRT runs a plan that is built on the device, once (minutes); it is native code, so its sum is checked before it is
loaded:

    ./build_engine.sh          # writes engine.plan and engine.plan.sha256; needs trtexec, which JetPack holds

"""


def _base(target: str) -> str:
    name = ALIASES.get(target, target)
    jetson = name in known_targets() and load_target(name).kind == "jetson"
    # Thor begins with JetPack 7, and desktop GPUs take the same images.
    return JETPACK_6 if jetson and name != "jetson-thor" else JETPACK_7


def _fill(template: Path, path: Path, words: Mapping[str, str]) -> None:
    text = WORD.sub(lambda found: words.get(found[1], found[0]), template.read_text(encoding="utf-8"))
    left = WORD.search(text)
    if left:
        raise EdgepruneError(f"{template}: {left[0]} stands for nothing here.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if path.suffix == ".sh":
        path.chmod(0o755)
