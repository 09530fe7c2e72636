"""Packages that are programs: the Python runner on its own, recipes of images, plans, names that strangers chose."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeprune.engine.ort import open_model
from edgeprune.measure.golden import load_golden
from edgeprune.packaging.forms import JETPACK_6, JETPACK_7, TEMPLATES, Order, as_cpp, as_python, as_triton
from edgeprune.spec.bundle import open_bundle
from tests.packaging import conftest as shared
from tests.packaging import mutations

INSTRUCTIONS = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}
"""Of those that Containerfile(5) and Dockerfile's reference know, the ones that the recipes need."""
FAKE = """\
#!/bin/sh
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec"
for word; do case "$word" in --saveEngine=*) echo plan > "${{word#--saveEngine=}}" ;; esac; done
printf '%s\\n' "$@" > words
"""


def run_alone(folder: Path, *code: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a package, where nothing of edgeprune can be imported."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    block = "import sys; sys.modules['edgeprune'] = None; sys.path.insert(0, '.'); " + "; ".join(code)
    return subprocess.run(
        [sys.executable, "-c", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def python_package(make_bundle, tmp_path: Path) -> Path:
    as_python(Order(open_bundle(make_bundle()), 8), tmp_path / "python")
    return tmp_path / "python"


def test_the_python_package_answers_as_edgeprune_does(python_package: Path) -> None:
    bundle = open_bundle(python_package / "bundle")
    x = load_golden(bundle).input
    np.save(python_package / "x.npy", x)
    code = "import numpy as np; from model import Model; np.save('y.npy', Model(threads=1).run(np.load('x.npy')))"
    done = run_alone(python_package, code)
    assert done.returncode == 0, done.stderr
    expected = open_model(bundle.model, 1).run(x)
    assert np.load(python_package / "y.npy").tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz", "labels.txt"])
def test_the_python_package_loads_nothing_that_was_changed(python_package: Path, name: str) -> None:
    path = python_package / "bundle" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = run_alone(
        python_package,
        "import onnxruntime",
        "onnxruntime.InferenceSession = lambda *a, **k: sys.exit('the runtime saw it')",
        "from model import Model",
        "Model()",
    )
    assert done.returncode == 1
    assert f"{name} does not match its sha256" in done.stderr


def test_the_python_package_can_be_pinned(python_package: Path) -> None:
    digest = open_bundle(python_package / "bundle").digest
    assert digest in (python_package / "README.md").read_text()
    assert run_alone(python_package, "from model import Model", f"Model(manifest_sha256='{digest}')").returncode == 0
    done = run_alone(python_package, "from model import Model", f"Model(manifest_sha256='{digest[::-1]}')")
    assert "manifest.json does not match" in done.stderr


def test_the_python_package_ends_with_one_line_whatever_the_bundle_is(python_package: Path) -> None:
    """The program itself, on bundles that were mutated with their sums."""
    shutil.move(python_package / "bundle", python_package / "sound")
    (python_package / "image.ppm").write_bytes(b"P6\n1 1\n255\nabc")
    # Many in one process, which saves the seconds that a start takes; each as its own main program.
    code = (
        "import runpy, shutil; from pathlib import Path; sys.argv = ['model.py', 'image.ppm']\n"
        "for name in sorted(Path('work').iterdir()):\n"
        "    shutil.rmtree('bundle', ignore_errors=True); shutil.copytree(name, 'bundle')\n"
        "    try:\n        runpy.run_path('model.py', run_name='__main__'); print('LINE sound')\n"
        "    except SystemExit as end:\n        print('LINE', repr(end.code))"
    )
    for number in range(120):
        mutations.mutate_bundle(random.Random(number), python_package / "sound", python_package / f"work/{number:03}")
    done = run_alone(python_package, code)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("LINE ") for line in done.stdout.splitlines() if line.startswith("LINE ")]
    assert len(lines) == 120
    seen = {line for line in lines if line != "sound"}
    assert len(seen) > 8
    assert all("\\n" not in line for line in seen)


def test_the_python_package_refuses_newer_formats(python_package: Path) -> None:
    text = (python_package / "bundle/manifest.json").read_bytes().replace(b'"schema": 1', b'"schema": 2')
    mutations.rewrite(python_package / "bundle", text)
    done = run_alone(python_package, "from model import Model", "Model()")
    assert "a bundle of format 2. Take a newer model.py." in done.stderr


@pytest.mark.parametrize("content", [None, b"P6\n4 4\n255\nshort", b"no image"])
def test_a_bad_image_is_one_line(python_package: Path, content: bytes | None) -> None:
    if content is not None:
        (python_package / "image.ppm").write_bytes(content)
    done = shared.shell(sys.executable, python_package / "model.py", python_package / "image.ppm")
    assert done.returncode == 1
    assert done.stderr.startswith("model.py: ")
    assert done.stderr.count("\n") == 1


def test_16_bits_are_scaled_as_in_training(python_package: Path) -> None:
    from edgeprune.pictures import Frame, pixels

    image = pytest.importorskip("PIL.Image")
    wide = image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
    wide.save(python_package / "wide.png")
    code = "from pathlib import Path; import images; print(images.read_image(Path('wide.png')).tobytes().hex())"
    done = run_alone(python_package, code)
    assert bytes.fromhex(done.stdout.strip()) == pixels(wide, True, Frame(64, 64)).tobytes()


def test_the_python_runner_is_short() -> None:
    assert len((TEMPLATES / "python/model.py").read_text().splitlines()) <= 120


@pytest.mark.parametrize("form", [as_python, as_cpp])
@pytest.mark.parametrize(
    ("target", "base"),
    [
        ("cpu-x86-avx2", None),
        ("jetson-orin-nano", JETPACK_6),
        ("jetson-agx-orin", JETPACK_6),
        ("jetson-thor", JETPACK_7),
        ("rtx-4090", JETPACK_7),
    ],
)
def test_recipes_of_images(make_bundle, tmp_path: Path, form, target: str, base: str | None) -> None:
    runtime = "tensorrt" if base else "onnxruntime"
    form(Order(open_bundle(make_bundle(target=target, runtime=runtime)), 8), tmp_path / "package")
    text = (tmp_path / "package/Containerfile").read_text()
    words = [line.split() for line in text.replace("\\\n", "").splitlines() if line and not line.startswith("#")]
    assert {line[0] for line in words} <= INSTRUCTIONS
    assert [line[0] for line in words[:2]] == ["ARG", "FROM"]
    assert words[-1][0] == "ENTRYPOINT"
    assert base is None or words[0][1] == f"BASE={base}"
    # A tag, and not what `latest` is one day.
    assert re.fullmatch(r"BASE=[a-z0-9.]+/[a-z0-9/-]+:[a-z0-9.-]+", words[0][1])


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        ("8502", ["--int8", "--fp16", "--buildOnly"]),
        ("8601", ["--int8", "--fp16", "--skipInference"]),
        ("100300", ["--int8", "--fp16", "--skipInference"]),
        ("101303", ["--stronglyTyped", "--skipInference"]),
        ("110000", ["--skipInference"]),
    ],
)
def test_a_plan_is_built_with_the_flags_of_its_tensorrt(make_bundle, tmp_path: Path, version: str, flags) -> None:
    folder = tmp_path / "package"
    bundle = make_bundle(target="jetson-orin-nano", runtime="tensorrt", precision="int8")
    as_python(Order(open_bundle(bundle), 4), folder)
    fake = tmp_path / "trtexec"
    fake.write_text(FAKE.format(version=version))
    fake.chmod(0o755)
    shared.succeed(folder / "build_engine.sh", fake)
    words = (folder / "words").read_text().splitlines()
    assert [word for word in words if "=" not in word] == flags
    assert {"--onnx=bundle/model.onnx", "--minShapes=input:1x3x12x12", "--maxShapes=input:4x3x12x12"} <= set(words)
    assert "engine.plan: OK" in shared.succeed("sh", "-c", f"cd {folder} && sha256sum -c engine.plan.sha256")


def test_what_a_stranger_calls_things_stays_a_word(make_bundle, tmp_path: Path) -> None:
    evil = "x; touch evil $(touch evil) `touch evil`'\""
    bundle = make_bundle(
        name="../../evil name",
        target="jetson-orin-nano",
        runtime="tensorrt",
        input={"name": evil, "shape": (3, 12, 12)},
    )
    as_triton(Order(open_bundle(bundle), 4), tmp_path / "triton")
    assert (tmp_path / "triton/onnxruntime/evil-name/1/model.onnx").is_file()
    fake = tmp_path / "trtexec"
    fake.write_text(FAKE.format(version=110000))
    fake.chmod(0o755)
    shared.succeed(tmp_path / "triton/build_engine.sh", fake)
    assert f"--minShapes={evil}:1x3x12x12" in (tmp_path / "triton/words").read_text()
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("form", [as_python, as_cpp, as_triton])
@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_every_word_of_the_templates_is_filled_in(make_bundle, tmp_path: Path, form, runtime: str) -> None:
    form(Order(open_bundle(make_bundle(runtime=runtime)), 8), tmp_path / "package")
    for path in (tmp_path / "package").rglob("*"):
        if path.is_file() and "bundle" not in path.parts and path.suffix != ".onnx":
            assert not re.search(r"@\w+@", path.read_text()), path
