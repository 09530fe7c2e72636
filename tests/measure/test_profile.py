"""profile_bundle: verify, check answers, measure; and refuse in that order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.measure.profile import profile_bundle
from edgeprune.measure.written import write_profile
from edgeprune.spec.profile import Profile
from edgeprune.spec.strict import read_json


def test_a_sound_bundle_is_measured(make_bundle, sha256, tmp_path):
    bundle = make_bundle()
    seen = []
    profile = profile_bundle(
        bundle,
        seconds=0.05,
        threads=1,
        batch=2,
        tick=lambda label, done, total: seen.append((label, done <= total)),
    )
    assert profile.golden.checked == 3
    assert profile.golden.worst < 1e-5
    assert profile.golden.same_class == 3
    assert profile.model_sha256 == sha256(bundle / "model.onnx")
    assert profile.bundle_sha256 == sha256(bundle / "manifest.json")
    assert profile.latency_ms.batch == 2
    assert profile.machine.threads == 1
    assert profile.latency_ms.minimum <= profile.latency_ms.p50 <= profile.latency_ms.p90
    assert 0 < profile.memory.added_resident_bytes < profile.memory.peak_resident_bytes
    assert profile.memory.model_bytes == (bundle / "model.onnx").stat().st_size
    assert sum(row.ms for row in profile.layers) == pytest.approx(profile.latency_ms.p50 / 2)
    assert not profile.power.measured
    assert profile.power.reason
    assert {label for label, _ in seen} == {
        "checking the bundle",
        "timing layers",
        "warming up",
        "timing calls",
        "measuring memory",
    }
    assert all(sound for _, sound in seen)

    written = write_profile(profile, tmp_path / "out")
    assert written == tmp_path / "out/cpu-x86-avx2" / f"linear-{profile.model_sha256[:12]}.json"
    assert read_json(Profile, written) == profile
    assert json.loads(written.read_text())["schema"] == 1
    assert [path.name for path in written.parent.iterdir()] == [written.name]  # no history yet, and no calls given


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "labels.txt", "manifest.json", "manifest.sha256"])
def test_a_changed_byte_is_refused_in_every_file(make_bundle, name):
    bundle = make_bundle()
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 4] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(EdgepruneError, match="does not match its sha256"):
        profile_bundle(bundle, seconds=0.05)


@pytest.mark.parametrize("error", [0.01, np.nan, np.inf])
def test_wrong_answers_are_refused_before_timing(make_bundle, monkeypatch, error):
    monkeypatch.setattr("edgeprune.measure.profile.measure_latency", pytest.fail)
    with pytest.raises(EdgepruneError, match="relative error"), np.errstate(invalid="ignore"):
        profile_bundle(make_bundle(golden_error=error), seconds=0.05)


def test_golden_arrays_must_fit_the_manifest(make_bundle):
    with pytest.raises(EdgepruneError, match="the manifest says"):
        profile_bundle(make_bundle(golden={"count": 5, "tolerance": 1e-3}), seconds=0.05)


def test_a_tensorrt_bundle_needs_its_device(make_bundle, monkeypatch):
    fields = {"runtime": "tensorrt", "target": "jetson-orin-nano", "lowering": "tensorrt"}
    bundle = make_bundle(**fields)
    monkeypatch.setattr("edgeprune.engine.runner.offered", lambda: ["cpu"])
    with pytest.raises(EdgepruneError, match="profile it on the jetson-orin-nano") as caught:
        profile_bundle(bundle, seconds=0.05)
    assert "\n" not in str(caught.value)


def test_hashes_come_before_the_refusal_of_a_tensorrt_bundle(make_bundle):
    bundle = make_bundle(runtime="tensorrt", target="jetson-orin-nano", lowering="tensorrt")
    (bundle / "labels.txt").write_text("other\n")
    with pytest.raises(EdgepruneError, match="sha256"):
        profile_bundle(bundle, seconds=0.05)


def test_a_machine_that_saturates_runs_exact_and_says_so(make_bundle, monkeypatch):
    import edgeprune.measure.profile as module
    import edgeprune.measure.subject as subject
    from edgeprune.engine.runner import open_runner
    from edgeprune.measure.probe import Host

    asked = []

    def spy(bundle, threads, *, exact, runtime):
        asked.append(exact)
        return open_runner(bundle, threads, exact=exact, runtime=runtime)

    host = Host("x86_64 Linux", "a CPU", (), 2, 2**30, ("avx2",), None)
    monkeypatch.setattr(subject, "open_runner", spy)
    monkeypatch.setattr(module, "probe", lambda _root: host)
    profile = profile_bundle(make_bundle(target="cpu-x86-vnni", weight_bits=8), seconds=0.05)
    assert asked == [True]
    assert not profile.machine.matches_target
    assert "saturate" in str(profile.machine.mismatch)
    profile = profile_bundle(make_bundle("narrow"), seconds=0.05)
    assert asked == [True, False]
    assert profile.machine.matches_target
    assert profile.machine.mismatch is None


@pytest.mark.parametrize("bad", [{"seconds": 0}, {"threads": 0}, {"batch": 0}])
def test_settings_must_be_positive(make_bundle, bad):
    with pytest.raises(EdgepruneError, match="positive"):
        profile_bundle(make_bundle(), **bad)


def test_a_folder_that_cannot_be_written(make_bundle, tmp_path):
    profile = profile_bundle(make_bundle(), seconds=0.05)
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgepruneError, match="cannot be written"):
        write_profile(profile, tmp_path / "file")


def test_names_cannot_leave_the_folder(make_bundle, tmp_path):
    profile = profile_bundle(make_bundle(name="bundle"), seconds=0.05)
    wild = profile.model_copy(update={"name": "../../x", "target": "a/b"})
    written = write_profile(wild, tmp_path / "out")
    assert written.resolve().is_relative_to((tmp_path / "out").resolve())
    assert isinstance(written, Path)
