"""What the doctor finds."""

from __future__ import annotations

import importlib.metadata

import pytest

from edgeprune.cli import app
from edgeprune.engine.trt.driver import Gpu
from edgeprune.measure import abilities as module
from edgeprune.measure.abilities import Ability, abilities, ability, met


def test_every_command_has_a_verdict():
    found = abilities()
    assert set(found.commands) == {command.name for command in app.registered_commands}
    assert found.commands["report"].works
    assert found.versions["numpy"] == importlib.metadata.version("numpy")
    assert found.versions["pycuda"] is None or found.versions["pycuda"]
    assert found.cores >= 1


@pytest.mark.parametrize(
    ("requirement", "version", "holds"),
    [
        ("torch<2.14,>=2.10", "2.13.0+cpu", True),
        ("torch<2.14,>=2.10", "2.14.0", False),
        ("torch<2.14,>=2.10", "2.9.1", False),
        ("torch<2.14,>=2.10", None, False),
        ("onnx>=1.17", "1.17", True),
        ("pillow", "1", True),
    ],
)
def test_requirements(monkeypatch, requirement, version, holds):
    monkeypatch.setattr(module, "installed", lambda _name: version)
    assert met(requirement) == holds


def test_what_is_missing_comes_with_its_command(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda name: None if name == "torch" else "99.0")
    found = ability("host")
    assert not found.works
    assert [line.split("<")[0] for line in found.missing] == ["torch"]
    assert found.install == "pip install 'edgeprune[host]'"
    monkeypatch.setattr(module, "installed", lambda _name: None)
    assert ability("cpu").missing[0].startswith("onnxruntime")
    assert ability(None).works


def test_building_engines_needs_tensorrt_a_device_and_one_of_two_packages(monkeypatch):
    monkeypatch.setattr(module, "first_gpu", lambda: "libcuda.so.1 is not here")
    monkeypatch.setattr(module.tensorrt, "installed", lambda: False)
    found = module.build_ability()
    assert not found.works
    assert found.missing[-2:] == ["TensorRT", "a CUDA device (libcuda.so.1 is not here)"]
    monkeypatch.setattr(module, "first_gpu", lambda: Gpu("Orin", "8.7", 8 << 30, True, "12.6"))
    monkeypatch.setattr(module.tensorrt, "installed", lambda: True)
    only_pycuda = Ability(works=False, missing=["cuda-bindings<13,>=12.8"], install="pip install 'edgeprune[tensorrt]'")
    monkeypatch.setattr(module, "ability", lambda _extra: only_pycuda)
    monkeypatch.setattr(module, "installed", lambda name: "2026.1" if name == "pycuda" else None)
    assert module.build_ability().works


def test_another_distribution_of_onnxruntime_counts(monkeypatch):
    def version(name):
        if name == "onnxruntime-gpu":
            return "1.20.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert module.installed("onnxruntime") == "1.20.0"
    assert module.installed("torch") is None


def test_without_ssh_nothing_is_deployed(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = abilities()
    assert found.commands["deploy"].missing == ["ssh"]
    assert found.options["package --sign"].missing == ["ssh-keygen"]
    assert found.commands["verify"].works
