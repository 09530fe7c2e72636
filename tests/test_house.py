"""Who may import whom, how long a file may be, and that the command line starts without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "edgeprune"
WORDS = {"errors", "progress", "spec", "__init__"}
MODEL = WORDS | {"pictures", "model"}
MAY_IMPORT = {
    "errors": set(),
    "progress": set(),
    "pictures": set(),
    "__init__": {"errors"},
    "__main__": {"cli"},
    "spec": {"errors", "spec"},
    "model": MODEL,
    "curvature": MODEL | {"curvature"},
    "pruning": MODEL | {"curvature", "pruning"},
    "compact": MODEL | {"curvature", "pruning", "compact"},
    "reconstruction": MODEL | {"curvature", "pruning", "compact", "reconstruction"},
    "merging": MODEL | {"curvature", "pruning", "compact", "reconstruction", "train", "merging"},
    "allocation": MODEL | {"curvature", "pruning", "allocation"},
    "train": MODEL | {"train"},
    "quantization": MODEL | {"quantization"},
    "exporting": MODEL | {"exporting"},
    "linting": MODEL | {"exporting", "linting"},
    "engine": WORDS | {"engine"},
    "measure": WORDS | {"pictures", "engine", "measure"},
    "report": WORDS | {"report"},
    "packaging": WORDS | {"packaging"},
    "deploy": WORDS | {"engine", "measure", "deploy"},
}
HOST = {
    "model", "curvature", "pruning", "compact", "reconstruction", "merging", "allocation", "train", "quantization",
    "exporting", "linting", "pipeline", "api",
}  # fmt: skip
EVERY = set(MAY_IMPORT) | {"pipeline", "cli", "api"}
MAY_IMPORT |= {"pipeline": EVERY - {"cli", "api"}, "api": EVERY - {"cli"}, "cli": EVERY}
MAY_USE = {
    "torch": HOST, "onnx": HOST, "safetensors": HOST, "PIL": {"model", "pictures", "measure"}, "sklearn": {"model"},
    "typer": {"cli"}, "tensorrt": {"engine"}, "pycuda": {"engine"}, "cuda": {"engine"}, "google": {"engine"},
}  # fmt: skip
MAY_USE |= {name: {"allocation"} for name in ("stable_baselines3", "gymnasium", "ray")}
MOST_LINES = 300


def _files() -> list[Path]:
    """Templates are programs of their own, which import no edgeprune."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "templates" not in path.parts)


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module, and whether at the file's top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # What only a type checker reads is imported by nobody.
    tree.body = [n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")]
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{a.name}" for a in node.names]
            names = [name if _is_module(name) or node.module == "edgeprune" else node.module for name in inside]
        yield from ((name, id(node) in top) for name in names)


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_keeps_to_its_room(path: Path) -> None:
    room = _room(path)
    for name, top in _imports(path):
        parts = name.split(".")
        if parts[0] == "edgeprune" and len(parts) > 1:
            target = "__init__" if parts[1] == "__version__" else parts[1]
            assert target in MAY_IMPORT[room], f"{path.name} of {room} imports {name}"
        elif parts[0] in MAY_USE:
            allowed = room in MAY_USE[parts[0]] or (room == "cli" and not top)
            assert allowed, f"{path.name} of {room} uses {name}"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_no_ring_of_imports() -> None:
    modules = {
        ".".join(("edgeprune", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p
        for p in _files()
    }
    edges = {name: {target for target, _ in _imports(path) if target in modules} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"ring: {' -> '.join((*above, name))}"
        if name not in done:
            for target in edges[name]:
                visit(target, (*above, name))
            done.add(name)

    for name in modules:
        visit(name, ())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["targets"], ["compress", "--help"], ["inspect", "--help"], ["lint", "--help"], ["build", "--help"]],
)
def test_light_commands_start_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv[1:] = " + repr(arguments) + "\n"
        "from edgeprune.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_does_no_work() -> None:
    code = "import sys, edgeprune; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
