"""Every command on a network of seconds: it works, and bad input gets one line, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from edgeprune.spec.target import known_targets
from tests import tiny
from tests.conftest import Here
from tests.tiny import Done

FIGURES = {"accuracy", "accuracy_se", "macs", "params", "onnx_bytes", "latency_ms_p50", "int8_macs_share"}
QUICK = ("--method", "magnitude", "--epochs", "1")
BUNDLE = ("golden.npz", "labels.txt", "manifest.json", "manifest.sha256", "model.onnx")
COMMANDS = (
    "compress", "prune", "quantize", "export", "diagnose", "curvature", "inspect", "lint", "profile", "report",
    "targets", "doctor", "package", "verify", "unpack", "deploy",
)  # fmt: skip


def _document(done: Done) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


def _fault(done: Done) -> str:
    """The one line of a fault."""
    assert done.code == 2, (done.code, done.out, done.err)
    assert done.out == ""
    assert re.fullmatch(r"edgeprune: [^\n]+\n", done.err), done.err
    return done.err


# What works


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_command_and_each_has_its_own(here: Here, command: str) -> None:
    assert command in here("--help").out
    assert "Usage" in here(command, "--help").out


def test_help_says_the_defaults(here: Here) -> None:
    text = " ".join(here("compress", "--help").out.replace("│", " ").split())
    for default in (
        "[default: hap]",
        "[default: 0.5]",
        "[default: 24]",
        "[default: 3]",
        "[default: runs/MODEL-TARGET]",
    ):
        assert default in text


def test_python_m_and_version(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)


def test_compress_gives_one_document_with_the_schema_of_a_result(compressed: tuple[Path, Done]) -> None:
    run, done = compressed
    result = _document(done)
    assert result == json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert set(result) == {
        "schema", "model", "target", "method", "seed", "precision", "dense", "pruned", "final", "budget", "search",
        "seconds", "notes", "pattern", "dense_layers", "spectrum", "allocations",
    }  # fmt: skip
    assert (result["schema"], result["method"], result["seed"]) == (1, "hap", 0)
    for network in ("dense", "pruned", "final"):
        assert set(result[network]) == FIGURES
    assert result["final"]["macs"] <= 0.5 * result["dense"]["macs"]
    reached = result["pruned"]["macs"] / result["dense"]["macs"]
    assert result["budget"]["macs"] == {"asked": 0.5, "reached": reached, "source": "the exported graph"}
    assert result["search"] is None
    assert result["final"]["int8_macs_share"] == 1.0
    assert set(result["seconds"]) == {
        "dense",
        "curvature",
        "sensitivity",
        "prune",
        "finetune",
        "quantize",
        "export",
        "judge",
    }


def test_the_default_folder_is_named_for_model_and_target(compressed: tuple[Path, Done]) -> None:
    run, done = compressed
    assert run.name == f"net-{_document(done)['target']}"
    assert {path.name for path in run.iterdir()} == {".lock", "bundle", "recipe.toml", "result.json", "stages"}
    assert sorted(path.name for path in (run / "bundle").iterdir()) == sorted(BUNDLE)


def test_parameters_are_really_fewer_in_the_file_that_ships(compressed: tuple[Path, Done]) -> None:
    run, done = compressed

    def stored(path: Path) -> int:
        return sum(int(np.prod(tensor.dims)) for tensor in onnx.load(path).graph.initializer)

    (exported,) = run.glob("stages/export-*")
    assert stored(run / "bundle" / "model.onnx") < 0.75 * stored(exported / "dense.onnx")
    assert _document(done)["final"]["params"] < _document(done)["dense"]["params"]


def test_the_same_command_again_does_nothing_twice(compressed: tuple[Path, Done], here: Here) -> None:
    run, done = compressed
    before = snapshot_of_stages(run)
    again = here("compress", "--recipe", str(run / "recipe.toml"), "-o", str(run), "--json")
    assert _document(again) == _document(done)
    assert snapshot_of_stages(run) == before


def snapshot_of_stages(run: Path) -> dict[str, tuple[int, bytes]]:
    return tiny.snapshot(run / "stages")


def test_stages_alone_add_up_to_the_chain_from_the_recipe(compressed: tuple[Path, Done], here: Here) -> None:
    run, done = compressed
    pruned = _document(here("prune", "--recipe", str(run / "recipe.toml"), "-o", "again", "--json"))
    assert [row["stage"] for row in pruned["stages"]] == ["dense", "curvature", "sensitivity", "prune", "finetune"]
    quantized = _document(here("quantize", "again", "--json"))
    assert quantized["stages"][-1]["stage"] == "quantize"
    exported = _document(here("export", "again", "--json"))
    assert exported["final"]["accuracy"] == _document(done)["final"]["accuracy"]
    (here_onnx,), (there,) = Path("again").glob("stages/export-*/final.onnx"), run.glob("stages/export-*/final.onnx")
    assert here_onnx.read_bytes() == there.read_bytes()


def test_profile_measures_and_report_compares(compressed: tuple[Path, Done], here: Here) -> None:
    run, _ = compressed
    profile = _document(here("profile", str(run / "bundle"), "--seconds", "0.3", "-o", "profiles", "--json"))
    latency = profile["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"]
    assert "p99" in latency
    assert profile["golden"]["checked"] == 8
    assert profile["power"]["measured"] or profile["power"]["reason"]
    (written,) = Path("profiles").rglob("*.json")
    assert json.loads(written.read_text(encoding="utf-8")) == profile
    compared = _document(here("report", str(run), str(written), "--json"))
    assert [row["label"] for row in compared["comparisons"][0]["rows"]] == ["dense", "pruned", "INT8"]
    assert "dense" in here("report", str(run)).out
    assert here("report", str(run), "--markdown").out.count("|") > 20


def test_targets_and_doctor(here: Here) -> None:
    listed = _document(here("targets", "--json"))
    assert [target["name"] for target in listed["targets"]] == known_targets()
    assert _document(here("targets", "jetson-orin", "--json"))["name"] == "jetson-agx-orin"
    assert "jetson-orin-nano" in here("targets").out
    assert set(_document(here("doctor", "--json"))["commands"]) >= {"compress", "profile"}
    assert "commands" in here("doctor").out


def test_inspect_needs_no_images(here: Here) -> None:
    tiny.write_net(Path())
    found = _document(here("inspect", "net.py:build", "--image-size", "12", "--target", "jetson-orin", "--json"))
    assert (found["target"], found["input_shape"]) == ("jetson-agx-orin", [3, 12, 12])
    assert [layer["shape"] for layer in found["layers"]] == [[16, 3, 3, 3], [32, 16, 3, 3], [3, 32]]
    wider = _document(here("inspect", "net.py:build", "--num-classes", "7", "--image-size", "20", "--json"))
    assert wider["layers"][-1]["shape"] == [7, 32]
    built_in = _document(here("inspect", "resnet20", "--channels", "1", "--json"))
    assert (built_in["input_shape"], built_in["layers"][-1]["shape"]) == ([1, 32, 32], [10, 64])
    assert "groups of channels that go together" in here("inspect", "net.py:build", "--image-size", "12").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("resnet21",), r"unknown model 'resnet21'.*resnet20"),
        (("net.py:biuld",), r"no function 'biuld'.*build"),
        (("net.py:flat", "--image-size", "20"), r"does not take a 3x20x20 input"),
        (("resnet20", "--target", "jetson"), r"unknown target 'jetson'"),
        (("resnet20", "--weights", "w.safetensors"), r"w\.safetensors: no such file"),
        (("net.pt2",), r"net\.pt2: no such file"),
    ],
)
def test_inspect_says_in_one_line_what_is_wrong(here: Here, arguments: tuple[str, ...], told: str) -> None:
    tiny.write_net(Path())
    assert re.search(told, fault := _fault(here("inspect", *arguments))), fault


def test_a_tensorrt_target_ends_with_a_bundle_and_no_latency(compressed: tuple[Path, Done], here: Here) -> None:
    del compressed
    tiny.write_net(Path())
    tiny.write_npz(Path("data.npz"))
    arguments = ("net.py:build", "--data", "data.npz", *QUICK, "--target", "jetson-orin", "-o", "run", "--json")
    result = _document(here("compress", *arguments))
    assert result["target"] == "jetson-agx-orin"
    assert result["final"]["latency_ms_p50"] is None
    assert any("built on the device" in note for note in result["notes"])
    assert sorted(path.name for path in Path("run/bundle").iterdir()) == sorted(BUNDLE)


def test_one_unreadable_image_of_200_is_skipped_and_counted(here: Here) -> None:
    tiny.write_net(Path())
    broken = tiny.write_folders(Path("photos"))[7]
    broken.write_bytes(b"no image")
    arguments = ("net.py:build", "--data", "photos", *QUICK, "--fp32", "-o", "run", "--json")
    notes = _document(here("compress", *arguments))["notes"]
    assert any(note.startswith("1 unreadable image") and broken.name in note for note in notes), notes


# What does not

Prepare = Callable[[], tuple[str, ...]]
"""Makes the bad input in the current folder and returns the arguments after `compress`."""


def _with(*arguments: str) -> Prepare:
    return lambda: ("net.py:build", "--data", "data.npz", *QUICK, *arguments)


def _data(make: Callable[[Path], object], name: str = "bad") -> Prepare:
    def prepare() -> tuple[str, ...]:
        make(Path(name))
        return ("net.py:build", "--data", name, *QUICK)

    return prepare


def _one_class(root: Path) -> None:
    tiny.write_folders(root, tiny.CLASSES[:1])


def _no_images(root: Path) -> None:
    for part in ("train", "test"):
        for name in tiny.CLASSES:
            (root / part / name).mkdir(parents=True)


def _three_broken(root: Path) -> None:
    for file in tiny.write_folders(root)[:3]:
        file.write_bytes(b"no image")


def _weights(shape: tuple[int, ...]) -> Prepare:
    def prepare() -> tuple[str, ...]:
        save_file({"stem.0.weight": torch.zeros(shape)}, "bad.safetensors")
        return _with("--weights", "bad.safetensors")()

    return prepare


class Payload:
    """What a pickle can hold beside tensors."""


def _pickle() -> tuple[str, ...]:
    torch.save({"state_dict": {}, "config": Payload()}, "bad.pt")
    return _with("--weights", "bad.pt")()


BAD: dict[str, tuple[Prepare, str]] = {
    "unknown target": (_with("--target", "jetson-orni"), r"unknown target 'jetson-orni'.*jetson-orin-nano.*rtx-5090"),
    "target file missing": (_with("--target", "my.toml"), r"my\.toml: cannot be read"),
    "unknown method": (_with("--method", "obd"), r"unknown method 'obd'.*hap, magnitude"),
    "unknown model": (lambda: ("resnet21", "--data", "digits"), r"unknown model 'resnet21'.*resnet20"),
    "no such function": (lambda: ("net.py:biuld", "--data", "data.npz"), r"no function 'biuld'.*build"),
    "built-in without weights": (lambda: ("resnet20", "--data", "data.npz"), r"--weights FILE, or --dense-epochs"),
    "MODEL without --data": (lambda: ("net.py:build",), r"--data is missing"),
    "--data without MODEL": (lambda: ("--data", "data.npz"), r"MODEL is missing"),
    "budget beyond 1": (_with("--macs", "50"), r"budget\.macs = 50\.0: Input should be less than 1"),
    "budget that is no size": (_with("--size-mb", "0"), r"budget\.size_mb = 0\.0: Input should be greater than 0"),
    "drop beside a budget": (
        _with("--max-drop", "0.01", "--macs", "0.5"), r"max_drop searches the budget itself; macs cannot be given"
    ),
    "trials without a drop": (_with("--trials", "3"), r"--trials and --trial-epochs belong to --max-drop"),
    "milliseconds without facts": (
        _with("--latency-ms", "3", "--target", "cpu-x86-avx2"),
        r"cpu-x86-avx2 states no int8_tops_dense and bandwidth_gb_s, and there is no profile.*Limit --macs",
    ),
    "milliseconds in float": (
        _with("--latency-ms", "3", "--target", "jetson-orin", "--fp32"), r"jetson-agx-orin states no peak in fp32"
    ),
    "profile alone": (_with("--latency-profile", "p.json"), r"--latency-profile belongs to --latency-ms"),
    "profile missing": (_with("--latency-ms", "3", "--latency-profile", "p.json"), r"p\.json: cannot be read"),
    "mean that is no number": (_with("--mean", "a,b,c", "--std", "1,1,1"), r"--mean 'a,b,c': not numbers"),
    "mean without std": (_with("--mean", "0.5,0.5,0.5"), r"mean and std go together"),
    "mean of another image": (_with("--mean", "0.5", "--std", "0.5"), r"1 values, the images 3 channels"),
    "recipe missing": (lambda: ("--recipe", "recipe.toml"), r"recipe\.toml: cannot be read"),
    "recipe beside options": (lambda: ("--recipe", "r.toml", "--macs", "0.4"), r"--macs cannot be given beside it"),
    "data missing": (_data(Path.exists), r"bad: no such file or folder"),
    "data empty": (_data(Path.mkdir), r"bad: is empty.*DATA/train/CLASS"),
    "folders without images": (_data(_no_images), r"holds no images"),
    "one class only": (_data(_one_class), r"only one class \('blue'\)"),
    "unreadable images": (_data(_three_broken), r"3 of 200 images cannot be read, the first is train/"),
    "npz that is none": (_data(lambda path: path.write_bytes(b"PK"), "bad.npz"), r"bad\.npz: cannot be read as \.npz"),
    "npz of pickles": (
        _data(lambda path: np.savez(path, x_train=np.array([{}], dtype=object)), "bad.npz"),
        r"bad\.npz: cannot be read as \.npz without pickle",
    ),
    "wrong image size": (
        lambda: ("net.py:flat", "--data", "data.npz", *QUICK, "--image-size", "20"),
        r"does not take a 3x20x20 input.*net\.py:21.*--image-size",
    ),
    "weights missing": (_with("--weights", "w.safetensors"), r"w\.safetensors: no such file"),
    "weights that do not fit": (_weights((16, 3, 5, 5)), r"stem\.0\.weight is 16x3x5x5, not 16x3x3x3"),
    "weights that lack a name": (_weights((16, 3, 3, 3)), r"stem\.1\.weight is missing"),
    "weights as a pickle": (_pickle, r"bad\.pt: refused, since it needs \S*Payload"),
    "export fails": (
        lambda: ("net.py:branching", "--data", "data.npz", *QUICK),
        r"cannot be exported.*net\.py:26: if x\.sum\(\) > 1000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(here: Here, case: str) -> None:
    tiny.write_net(Path())
    tiny.write_npz(Path("data.npz"))
    prepare, expected = BAD[case]
    arguments = prepare()
    fault = _fault(here("compress", *arguments, "-o", "run"))
    assert re.search(expected, fault), fault
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("compress", "--macs", "abc"), r"'--macs'.*number.*See .*compress --help"),
        (("compress", "--macs"), r"'--macs' requires an argument"),
        (("compress", "--macos", "0.5"), r"--macos.*--macs"),
        (("compress", "a", "b"), r"unexpected extra argument.*b"),
        (("profile",), r"Give a bundle folder"),
        (("shrink",), r"No such command 'shrink'"),
    ],
)
def test_options_that_do_not_parse_get_one_line_too(here: Here, arguments: tuple[str, ...], expected: str) -> None:
    fault = _fault(here(*arguments))
    assert re.search(expected, fault), fault


def test_no_command_at_all_gets_the_help(here: Here) -> None:
    done = here()
    assert (done.code, done.out) == (0, here("--help").out)


def test_an_interrupted_run_says_that_it_can_go_on(tmp_path: Path) -> None:
    tiny.write_net(tmp_path)
    tiny.write_npz(tmp_path / "data.npz")
    process = tiny.start("compress", "net.py:build", "--data", "data.npz", *QUICK, "-o", "run", cwd=tmp_path)
    end = time.monotonic() + 120
    while not any(tmp_path.glob("run/stages/*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "edgeprune: interrupted. Run the same command again: it goes on where it stopped."


LATE: dict[str, tuple[Prepare, str, str]] = {
    "budget out of reach": (_with("--macs", "0.001"), "prune", r"0\.001.*reach"),
    "several out of reach": (
        _with("--macs", "0.9", "--size-mb", "0.0001", "--memory-mb", "0.0001"),
        "prune",
        r"prune: --size-mb 0\.0001 cannot be met: 0\.00\d+ is the least that can be reached; --memory-mb.* or more",
    ),
    "pattern without a layer": (_with("--keep", "hed"), "prune", r"--keep 'hed' matches no layer. Near it: head"),
    "loss not a number": (
        _with("--learning-rate", "1e20", "--batch-size", "8"),
        "finetune",
        r"fine-tuning: the loss is not finite.*Lower",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LATE)
def test_a_late_fault_gets_one_line_and_leaves_whole_stages_only(here: Here, case: str) -> None:
    tiny.write_net(Path())
    tiny.write_npz(Path("data.npz"))
    prepare, stage, expected = LATE[case]
    fault = _fault(here("compress", *prepare(), "-o", "run"))
    assert re.search(expected, fault), fault
    stages = sorted(path.name for path in Path("run/stages").iterdir())
    assert not [name for name in stages if name.startswith((".", stage))], stages
    assert not Path("run/bundle").exists()
    assert not Path("run/result.json").exists()


def test_a_run_of_another_recipe_is_left_alone(compressed: tuple[Path, Done], workplace: Path, here: Here) -> None:
    run, _ = compressed
    before = tiny.snapshot(run)
    arguments = (f"{workplace}/net.py:build", "--data", f"{workplace}/data.npz", *QUICK, "-o", str(run))
    for command in ("compress", "prune"):
        assert "holds a run of another recipe (method = 'hap', asked 'magnitude'" in _fault(here(command, *arguments))
    assert tiny.snapshot(run) == before


def test_a_folder_that_is_no_run_is_left_alone(here: Here) -> None:
    tiny.write_net(Path())
    tiny.write_npz(Path("data.npz"))
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("dear", encoding="utf-8")
    assert "is not a run directory and not empty" in _fault(here("compress", *_with()(), "-o", "run"))
    assert [path.name for path in Path("run").iterdir()] == ["thesis.txt"]
    for command in ("quantize", "export"):
        assert "no run here" in _fault(here(command, "run"))
    assert "no result.json here" in _fault(here("report", "run"))
    assert "no bundle here" in _fault(here("profile", "run"))


@pytest.mark.parametrize("file", BUNDLE)
@pytest.mark.parametrize("at", ["first", "middle", "last"])
def test_a_bundle_with_a_changed_byte_is_refused(compressed: tuple[Path, Done], here: Here, file: str, at: str) -> None:
    run, _ = compressed
    shutil.copytree(run / "bundle", "bundle")
    content = bytearray(Path("bundle", file).read_bytes())
    place = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[at]
    if (file, at) == ("manifest.sha256", "last"):
        place = 63  # the last digit; the file's name behind it is only for sha256sum
    if (file, at) == ("manifest.sha256", "middle"):
        place = 32
    content[place] ^= 1
    Path("bundle", file).write_bytes(content)
    fault = _fault(here("profile", "bundle", "--seconds", "0.2"))
    named = "manifest.json" if file.startswith("manifest") else file
    assert f"{named} does not match its sha256" in fault
    assert not Path("profiles").exists()


@pytest.mark.parametrize("file", BUNDLE)
def test_a_bundle_with_a_missing_file_is_refused(compressed: tuple[Path, Done], here: Here, file: str) -> None:
    run, _ = compressed
    shutil.copytree(run / "bundle", "bundle")
    Path("bundle", file).unlink()
    _fault(here("profile", "bundle", "--seconds", "0.2"))


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    compressed: tuple[Path, Done], here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, done = compressed
    shutil.copytree(run, "run", ignore=shutil.ignore_patterns("export-*", "judge-*", "bundle", "result.json"))
    replay = ("--recipe", "run/recipe.toml", "-o", "run", "--json")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "final.onnx")

    with monkeypatch.context() as patch:
        patch.setattr(onnx, "save", full)
        assert "the disk is full" in _fault(here("compress", *replay))
    assert not list(Path("run/stages").glob("export-*"))
    result = _document(here("compress", *replay))
    assert result["final"]["accuracy"] == _document(done)["final"]["accuracy"]


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """A disk of few kilobytes, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("small_disk", [24, 250], indirect=True)
def test_a_disk_that_is_really_full_is_told(compressed: tuple[Path, Done], small_disk: Path) -> None:
    run, _ = compressed
    # In a process of its own: a writer of torch's that finds the disk full can end the whole process.
    done = tiny.run("compress", "--recipe", str(run / "recipe.toml"), "-o", "run", cwd=small_disk)
    assert re.search("disk is full|No space left on device", _fault(done))
    assert not (small_disk / "run" / "result.json").exists()
