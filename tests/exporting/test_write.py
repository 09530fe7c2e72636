from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.exporting.check import infer, relative_l2
from edgeprune.exporting.lower import to_tensorrt
from edgeprune.exporting.write import Details, write_bundle
from edgeprune.spec.bundle import MODEL, Preprocessing, open_bundle
from tests import zoo
from tests.exporting.networks import STYLES, exported, frozen, images, lowered


def _details(**changes: Any) -> Details:
    fields: dict[str, Any] = {
        "name": "residual-cpu-x86-vnni",
        "target": "cpu-x86-vnni",
        "runtime": "onnxruntime",
        "precision": "int8",
        "lowering": "onnxruntime",
        "weight_bits": 8,
        "preprocessing": Preprocessing(channels="RGB", resize_shorter_to=12, crop=12, mean=(0, 0, 0), std=(1, 1, 1)),
        "labels": ["a", "b", "c", "d", "é"],
        "macs": 1,
        "params": 2,
        "int8_macs_share": 1.0,
        "int8_macs_measured_with": "ONNX Runtime",
        "accuracy": 0.9,
        "accuracy_se": 0.01,
        "recipe": {"seed": 0},
    }
    return Details(**{**fields, **changes})


def test_a_bundle_is_written_and_opens(tmp_path: Path) -> None:
    golden = images(4).numpy()
    written = write_bundle(tmp_path / "run" / "bundle", lowered("Residual", STYLES[0]), _details(), golden)
    opened = open_bundle(tmp_path / "run" / "bundle")
    assert opened.manifest == written.manifest
    assert opened.labels == ["a", "b", "c", "d", "é"]
    assert opened.manifest.input.shape == zoo.SHAPE
    assert opened.manifest.output.shape == (5,)
    assert opened.manifest.golden.count == 4
    with np.load(opened.golden) as stored:
        assert np.array_equal(stored["input"], golden)
        assert np.array_equal(stored["output"], infer(opened.model, golden, exact=True))
        with_torch = frozen("Residual", STYLES[0]).module(images(4)).detach().numpy()
        assert relative_l2(stored["output"], with_torch).max() < opened.manifest.golden.tolerance
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["bundle"]


def test_a_second_one_takes_the_place_of_the_first(tmp_path: Path) -> None:
    for name in ("Residual", "OptionA"):
        write_bundle(tmp_path / "bundle", lowered(name, STYLES[0]), _details(name=name), images(2).numpy())
    assert open_bundle(tmp_path / "bundle").manifest.name == "OptionA"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_for_tensorrt_has_simulated_outputs(tmp_path: Path) -> None:
    model = to_tensorrt(exported("OptionA", STYLES[2]))
    details = _details(runtime="tensorrt", lowering="tensorrt", target="jetson-orin-nano")
    bundle = write_bundle(tmp_path / "bundle", model, details, images(3).numpy())
    expected = frozen("OptionA", STYLES[2]).module(images(3)).detach().numpy()
    with np.load(bundle.golden) as stored:
        assert relative_l2(stored["output"], expected).max() < 0.02


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    folder = tmp_path / "bundle"
    if there:
        write_bundle(folder, lowered("Residual", STYLES[0]), _details(), images(2).numpy())
    before = sorted(tmp_path.rglob("*"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(EdgepruneError, match="No space left on device") as caught:
        write_bundle(folder, lowered("OptionA", STYLES[0]), _details(), images(2).numpy())
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    if there:
        assert onnx.load(open_bundle(folder).path / MODEL).graph.node


def test_a_place_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgepruneError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "bundle", lowered("Residual", STYLES[0]), _details(), images(2).numpy())
