"""What a deployment does on a device beside measuring: builds an engine, measures on images, shows where it is."""

from __future__ import annotations

import os
import pty
import re
import site
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edgeprune.deploy.order import EXTRAS
from edgeprune.deploy.own_wheel import requirements
from tests.conftest import Here
from tests.deploy.looks import BRIEF, deliveries, is_tidy, started
from tests.deploy.sshd import Device, free_port, start
from tests.engine.trt.conftest import HERE as TRT
from tests.engine.trt.conftest import ORIN


def test_the_extra_of_every_runtime_requires_something() -> None:
    for extra in EXTRAS.values():
        assert any(re.search(rf"extra == ['\"]{extra}['\"]", line) for line in requirements()), extra


def test_a_device_with_tensorrt_builds_and_then_measures(index: None, tmp_path: Path, here: Here) -> None:
    """On the stand-in for TensorRT, which its system's packages hold, as a Jetson's do."""
    del index
    pytest.importorskip("onnx")
    from tests.engine.trt.network import write_bundle

    (tmp_path / "run").mkdir()
    bundle = write_bundle(tmp_path / "run" / "bundle")
    environment = ORIN | {"FAKE_TENSORRT": "10.3.0", "OMP_NUM_THREADS": "1"}
    with start(tmp_path / "orin", "orin", sys.executable, environment=environment) as device:
        version = ".".join(map(str, sys.version_info[:2]))
        packages = device.home / ".local" / "lib" / f"python{version}" / "site-packages"
        packages.mkdir(parents=True)
        seen = [TRT / "fake" / "common", TRT / "fake" / "pycuda", *site.getsitepackages()]
        (packages / "system.pth").write_text("\n".join(map(str, seen)) + "\n")
        command = ("deploy", str(bundle), "orin", "--ssh", device.ssh, *BRIEF, "--build-options", "--seconds 0.1")
        done = here(*command, "--json")
        (host,) = deliveries(done)
        steps = [line.removeprefix("orin: ") for line in done.err.splitlines() if line.startswith("orin: ")]
        assert steps.index("building") < steps.index("profiling")
        assert host["profile"]["runtime"] == "TensorRT 10.3.0 (Orin)"
        assert list(Path(host["bundle"], "engines").glob("*.plan"))
        is_tidy(device)


def test_images_that_are_sent_along_give_the_accuracy_there(
    jetson: Device, make_bundle: Callable[..., Path], here: Here, tmp_path: Path
) -> None:
    from PIL import Image

    sizes = {"channels": "RGB", "resize_shorter_to": 3, "crop": 3, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    bundle = make_bundle(channels=3, preprocessing=sizes)
    for number, name in enumerate("abcdabc"):
        file = tmp_path / "test" / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (40 * number, 0, 255 - 40 * number)).save(file)
    command = ("deploy", str(bundle), "jetson", "--ssh", jetson.ssh, *BRIEF, "-o", str(tmp_path / "back"))
    (host,) = deliveries(here(*command, "--data", str(tmp_path / "test"), "--json"))
    assert host["profile"]["measured_accuracy"]["count"] == 7
    assert host["profile"]["measured_accuracy"]["skipped"] == 0
    assert Path(host["profile_file"]).is_relative_to(tmp_path / "back" / "jetson")
    is_tidy(jetson)


def test_one_table_shows_where_every_device_is(jetson: Device, bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"{jetson.config.read_text()}\nHost gone\nHostName 127.0.0.1\nPort {free_port()}\n")
    here, there = pty.openpty()
    seen = bytearray()

    def read() -> None:
        with suppress(OSError):  # the terminal's other end is closed
            while data := os.read(here, 1 << 16):
                seen.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    command = ("deploy", str(bundle), "jetson", "gone", "--ssh", f"ssh -F {config}", *BRIEF)
    process = started(*command, cwd=tmp_path, stderr=there, stdout=subprocess.PIPE)
    os.close(there)
    out, _ = process.communicate()
    reader.join()
    os.close(here)
    text = seen.decode()
    assert process.returncode == 2
    assert re.search(r"jetson +profiling", text)
    assert re.search(r"gone +failed", text)
    *_, last = text.strip().splitlines()
    assert last.startswith("edgeprune: gone: no connection (")
    assert re.search(r"p50 ms +p90 ms", out)
    assert re.search(r"^ *jetson .* 3\.10\.\d+ .* \d+\.\d{3} +\d+\.\d{3} *$", out, re.M)
