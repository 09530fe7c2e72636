"""The C++ loader under AddressSanitizer and UndefinedBehaviorSanitizer, against the real ONNX Runtime."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprune.engine.ort import open_model
from edgeprune.errors import EdgepruneError
from edgeprune.measure.golden import load_golden
from edgeprune.packaging.forms import TEMPLATES, Order, as_cpp, as_python
from edgeprune.spec.bundle import Bundle, open_bundle
from tests.packaging import conftest as shared
from tests.packaging import mutations
from tests.tiny import Done

PIL = pytest.importorskip("PIL.Image")


def write_ppm(path: Path, image: np.ndarray) -> Path:
    height, width, channels = image.shape
    path.write_bytes(b"P%d\n%d %d\n255\n" % (6 if channels == 3 else 5, width, height) + image.tobytes())
    return path


def random_image(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return image if seed % 2 else np.where(image > 127, 255, 0).astype(np.uint8)  # hard edges show roundings


def python_input(bundle: Bundle, image: np.ndarray) -> np.ndarray:
    """The network's input as the images of the training were prepared."""
    from edgeprune.model.batches import normalise
    from edgeprune.pictures import Frame, pixels

    wanted = bundle.manifest.preprocessing
    picture = PIL.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    framed = pixels(picture, wanted.channels == "L", Frame(wanted.resize_shorter_to, wanted.crop))
    return normalise(framed[None], wanted)[0].numpy()


def golden_outputs(native: Path, bundle: Bundle) -> np.ndarray:
    out = native / "outputs"
    shared.succeed(native / "driver", "golden", bundle.path, out)
    return np.fromfile(out, np.float32).reshape(load_golden(bundle).output.shape)


def python_outputs(bundle: Bundle) -> np.ndarray:
    runner = open_model(bundle.model, 1)
    return np.concatenate([runner.run(item[None]) for item in load_golden(bundle).input])


def test_golden_outputs_are_pythons_bit_for_bit(native: Path) -> None:
    bundle = open_bundle(native / "bundle")
    assert golden_outputs(native, bundle).tobytes() == python_outputs(bundle).tobytes()


def test_those_of_a_compressed_int8_network_too(native: Path, compressed: tuple[Path, Done]) -> None:
    bundle = open_bundle(compressed[0] / "bundle")
    assert bundle.manifest.precision == "int8"
    assert golden_outputs(native, bundle).tobytes() == python_outputs(bundle).tobytes()


@pytest.mark.parametrize("channels", ["RGB", "L"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1000), height=st.integers(1, 90), width=st.integers(1, 90), planes=st.sampled_from([1, 3]))
def test_preprocessing_is_pythons_and_trainings_bit_for_bit(
    native: Path,
    tmp_path_factory: pytest.TempPathFactory,
    channels: str,
    seed: int,
    height: int,
    width: int,
    planes: int,
) -> None:
    folder = native / f"bundle-{channels}"
    if not folder.is_dir():
        shared.write_bundle(folder, channels)
    bundle = open_bundle(folder)
    image = random_image(seed, height, width, planes)
    out = tmp_path_factory.mktemp("pixels") / "input"
    shared.succeed(native / "driver", "preprocess", folder, write_ppm(out.with_suffix(".ppm"), image), out)
    found = np.fromfile(out, np.float32).reshape(bundle.manifest.input.shape)
    assert found.tobytes() == python_input(bundle, image).tobytes()
    assert found.tobytes() == runner_input(bundle, image).tobytes()


def runner_input(bundle: Bundle, image: np.ndarray) -> np.ndarray:
    """The network's input as the Python package prepares it."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("edgeprune_images", TEMPLATES / "python" / "images.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.network_input(image, bundle.manifest.preprocessing.model_dump())


def test_sums_of_every_length_are_hashlibs(native: Path, tmp_path: Path) -> None:
    files = []
    for size in (*range(0, 130), 1000, 65_537):
        files.append(tmp_path / str(size))
        files[-1].write_bytes(os.urandom(size))
    found = shared.succeed(native / "driver", "sha256", *files).split()
    assert found == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def test_the_example_classifies_as_the_python_package_does(native: Path, tmp_path: Path) -> None:
    image = write_ppm(tmp_path / "image.ppm", random_image(3, 40, 30, 3))
    as_python(Order(open_bundle(native / "bundle"), 8), tmp_path / "python")
    python = shared.succeed(shutil.which("python"), tmp_path / "python/model.py", image).splitlines()
    cpp = shared.succeed(native / "classify", native / "bundle", image, "--check", "--seconds", "0.05").splitlines()
    assert [line for line in cpp if "class" in line] == [line for line in python if "class" in line]
    assert cpp[1].startswith("golden inputs: worst relative error")
    assert cpp[-1].startswith("latency: p50 ")


def test_the_program_of_the_page_runs(native: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/packaging.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```cpp\n(.*?)^```$", page, re.M | re.S)
    (tmp_path / "page.cpp").write_text(program)
    build, library = native / "build/libedgeprune.a", native / "onnxruntime/lib/libonnxruntime.so"
    flags = ["-std=c++17", *shared.FLAGS, "-I", native / "package/include"]
    linked = [build, library, f"-Wl,-rpath,{library.parent}"]
    shared.succeed("g++", *flags, tmp_path / "page.cpp", "-o", tmp_path / "page", *linked)
    (tmp_path / "bundle").symlink_to(native / "bundle")
    answers = shared.succeed("sh", "-c", f"cd {tmp_path} && ./page").splitlines()
    assert sorted(line.split("%")[1].strip() for line in answers) == ["cat", "dog", "owl"]


def test_the_example_reads_jpeg_as_pillow_does(native: Path, tmp_path: Path) -> None:
    if "jpeg" not in shared.succeed("ldd", native / "classify"):
        pytest.skip("libjpeg was not found when the example was built")
    smooth = np.linspace(0, 255, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)
    PIL.fromarray(smooth).save(tmp_path / "image.jpg")
    decoded = write_ppm(tmp_path / "image.ppm", np.asarray(PIL.open(tmp_path / "image.jpg")))
    answers = [
        shared.succeed(native / "classify", native / "bundle", file, "--seconds", "0").splitlines()[1:]
        for file in (tmp_path / "image.jpg", decoded)
    ]
    assert answers[0] == answers[1]
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "image.jpg").read_bytes()[:300])
    done = shared.shell(native / "classify", native / "bundle", tmp_path / "broken.jpg")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_the_c_interface_lets_nothing_through(native: Path) -> None:
    assert shared.succeed(native / "abi", native / "bundle").strip() in {"cat", "dog", "owl"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "usage: classify"),
        (("nowhere", "image.ppm"), "no bundle here"),
        (("BUNDLE", "nowhere.ppm"), "cannot be read"),
        (("BUNDLE", "BUNDLE/labels.txt"), "neither"),
        (("BUNDLE", "IMAGE", "--manifest-sha256", "0" * 64), "not the bundle that this program was made for"),
        (("BUNDLE", "IMAGE", "--threads", "many"), "no number"),
        (("BUNDLE", "IMAGE", "--speed"), "unknown"),
    ],
)
def test_bad_input_is_one_line(native: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    image = write_ppm(tmp_path / "image.ppm", random_image(1, 20, 20, 3))
    words = [word.replace("BUNDLE", str(native / "bundle")).replace("IMAGE", str(image)) for word in arguments]
    done = shared.shell(native / "classify", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_tensorrt_bundle_needs_a_build_with_tensorrt(native: Path, make_bundle) -> None:
    folder = make_bundle(runtime="tensorrt", target="jetson-orin-nano")
    done = shared.shell(native / "classify", folder, "image.ppm")
    assert "-DEDGEPRUNE_TENSORRT=ON" in done.stderr


def test_an_onnx_file_that_the_runtime_refuses_is_one_line(native: Path, tmp_path: Path) -> None:
    from edgeprune.spec.bundle import MODEL, Manifest, file_sum, write_manifest

    folder = shutil.copytree(native / "bundle", tmp_path / "bundle")
    (folder / MODEL).write_bytes(b"no onnx")
    manifest = open_bundle(native / "bundle").manifest.model_dump(by_alias=True)
    manifest["files"][MODEL] = file_sum(folder / MODEL).model_dump()
    write_manifest(folder, Manifest.model_validate(manifest))
    done = shared.shell(native / "classify", folder, "image.ppm")
    assert done.returncode == 2
    assert "does not take it" in done.stderr


def test_a_newer_format_says_what_to_update(native: Path, make_bundle) -> None:
    folder = make_bundle()
    text = (folder / "manifest.json").read_bytes().replace(b'"schema": 1', b'"schema": 2')
    mutations.rewrite(folder, text)
    done = shared.shell(native / "classify", folder, "image.ppm")
    assert "bundle format 2, and this loader reads up to 1. Take a newer loader" in done.stderr


def test_cmake_says_what_it_does_not_find(tmp_path: Path) -> None:
    shared.need("cmake", "g++")
    as_cpp(Order(open_bundle(shared.write_bundle(tmp_path / "bundle")), 8), tmp_path / "cpp")
    missing = [
        "-DEDGEPRUNE_ONNXRUNTIME=OFF",
        "-DEDGEPRUNE_TENSORRT=ON",
        "-DTENSORRT_INCLUDE_DIR=TENSORRT_INCLUDE_DIR-NOTFOUND",
    ]
    done = subprocess.run(
        ["cmake", "-S", tmp_path / "cpp", "-B", tmp_path / "build", *missing],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        pytest.skip("TensorRT is installed here")
    assert "-DTENSORRT_ROOT=FOLDER" in " ".join(done.stderr.split())


STRICTER = "out of range", "does not know it", "expected", "dtype: missing"
"""Python takes true as 1 and "8" as 8, and knows what a tensor is of where it is not said."""


def _python_says(folder: Path) -> str:
    try:
        bundle = open_bundle(folder)
        load_golden(bundle)
        assert bundle.labels
    except EdgepruneError as error:
        return str(error)
    return "sound"


def _cpp_and_python(native: Path, make_bundle, tmp_path: Path, count: int) -> None:
    sound = make_bundle("sound")
    folders, python = [], []
    for number in range(count):
        folders.append(tmp_path / "work" / str(number))
        mutations.mutate_bundle(random.Random(77_000 + number), sound, folders[-1])
        python.append(_python_says(folders[-1]))
    done = subprocess.run(
        [native / "driver", "load"],
        input="".join(f"{folder}\n" for folder in folders),
        env=os.environ | shared.CALM,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cpp = done.stdout.splitlines()
    assert len(cpp) == count  # one line each
    for said, other in zip(cpp, python, strict=True):
        if said == "sound":
            # C++ reads fewer fields of a manifest than Python does, and sums whole files where a zip sums its members.
            assert not any(word in other for word in ("does not match its sha256", "no bundle here")), other
        elif other == "sound":
            assert any(word in said for word in STRICTER), said
    assert 0 < cpp.count("sound") < 0.5 * count


def test_mutated_bundles_in_cpp(native: Path, make_bundle, tmp_path: Path) -> None:
    _cpp_and_python(native, make_bundle, tmp_path, 300)


@pytest.mark.slow
def test_thousands_of_mutated_bundles_in_cpp(native: Path, make_bundle, tmp_path: Path) -> None:
    _cpp_and_python(native, make_bundle, tmp_path, 5000)
