"""edgeprune package, verify and unpack, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.conftest import allow, make_key
from tests.tiny import snapshot


@pytest.mark.parametrize("form", ["bundle", "cpp", "python", "triton"])
def test_a_folder_and_an_archive_hold_the_same(here, make_bundle, tmp_path: Path, form: str) -> None:
    make_bundle()
    asked = () if form == "bundle" else ("--for", form)
    assert here("package", "bundle", *asked).code == 0
    assert here("package", "bundle", *asked, "-o", "a.tar.gz").code == 0
    assert here("package", "bundle", *asked, "-o", "b.tar.gz").code == 0
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert here("unpack", "a.tar.gz").code == 0
    folders = [{name: content for name, (_, content) in snapshot(tmp_path / at).items()} for at in ("a", f"net-{form}")]
    assert folders[0] == folders[1]
    for path in ("a", "a.tar.gz", f"net-{form}"):
        done = here("verify", path)
        assert done.code == 0, done.err
        assert "every byte is as it was packed; who made it was not asked" in done.out


def test_deepstream_of_a_run(here, make_bundle, tmp_path: Path) -> None:
    make_bundle("run/bundle", target="jetson-orin-nano", runtime="tensorrt", precision="int8")
    done = here("package", "run", "--for", "deepstream", "--batch", "2", "-o", "ds")
    assert done.code == 0, done.err
    assert "batch-size=2\n" in (tmp_path / "ds/config_infer.txt").read_text()
    assert here("verify", "ds").code == 0


def test_signed_packed_unpacked(here, make_bundle, tmp_path: Path) -> None:
    make_bundle()
    allow(tmp_path / "signers", "maker@example.org", make_key(tmp_path, "key"))
    done = here("package", "bundle", "--for", "python", "--sign", "key", "-o", "p.tar.gz")
    assert (done.code, done.err) == (0, "")
    assert "signed by maker@example.org" in here("verify", "p.tar.gz", "--verify", "signers").out
    assert "signed by maker@example.org" in here("unpack", "p.tar.gz", "--verify", "signers", "-o", "out").out
    (tmp_path / "out/bundle/engine.plan").write_text("a stranger's")
    done = here("verify", "out", "--verify", "signers")
    assert done.code == 0
    assert "not covered: bundle/engine.plan (1 files)" in done.err
    # A signed bundle keeps its signature in packages that are made from it.
    assert here("package", "out/bundle", "--verify", "signers", "--for", "cpp", "-o", "cpp").code == 0
    assert here("verify", "cpp/bundle", "--verify", "signers").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("package", "nowhere"), "no bundle here"),
        (("package", "bundle", "--for", "java"), "Choose one of bundle, cpp"),
        (("package", "bundle", "--for", "deepstream"), "made for ONNX Runtime"),
        (("package", "bundle", "-o", "bundle"), "holds something else"),
        (("package", "bundle", "-o", "mine"), "holds something else"),
        (("package", "bundle", "-o", "mine/letter.txt"), "holds something else"),
        (("package", "bundle", "-o", "."), "holds something else"),
        (("package", "bundle", "--sign", "key"), "no key there"),
        (("package", "bundle", "--verify", "signers"), "is not signed"),
        (("unpack", "nothing.tar.gz"), "no archive there"),
        (("unpack", "mine/letter.txt"), "not an archive of edgeprune"),
        (("verify", "mine"), "no bundle here"),
        (("verify", "mine/letter.txt"), "not an archive of edgeprune"),
    ],
)
def test_mistakes_are_one_line_and_cost_nothing(here, make_bundle, tmp_path: Path, arguments, said: str) -> None:
    make_bundle()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    before = snapshot(tmp_path)
    done = here(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert snapshot(tmp_path) == before


def test_a_package_is_replaced_whole(here, make_bundle, tmp_path: Path) -> None:
    make_bundle()
    assert here("package", "bundle", "--for", "cpp", "-o", "p").code == 0
    assert here("package", "bundle", "--for", "python", "-o", "p").code == 0
    assert not (tmp_path / "p/CMakeLists.txt").exists()
    assert (tmp_path / "p/model.py").is_file()


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("command", ["profile", "build", "package", "verify"])
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz", "labels.txt", "manifest.json.sig"])
def test_no_command_lets_a_runtime_see_a_changed_byte(
    here, signed: Path, keys: Path, monkeypatch, command, name
) -> None:
    import onnxruntime

    from edgeprune.measure import building

    def seen(*_: object, **__: object) -> None:
        raise AssertionError("a runtime saw it")

    monkeypatch.setattr(onnxruntime, "InferenceSession", seen)
    monkeypatch.setattr(building, "build_engine", seen)
    (signed / "package.json").unlink()  # a bundle, no longer a package
    change(signed / name)
    done = here(command, str(signed), "--verify", str(keys / "signers"))
    assert done.code == 2, done.err
    assert done.err.count("\n") == 1
    assert any(said in done.err for said in ("does not match its sha256", "is not what", "signed by nobody"))


def test_a_signed_bundle_is_measured_and_another_is_not(here, signed: Path, tmp_path: Path, keys: Path) -> None:
    done = here("profile", str(signed), "--seconds", "0.1", "--verify", str(keys / "signers"), "-o", "profiles")
    assert done.code == 0, done.err
    done = here("profile", str(tmp_path / "bundle"), "--seconds", "0.1", "--verify", str(keys / "signers"))
    assert done.code == 2
    assert "is not signed" in done.err
    done = here("deploy", str(tmp_path / "bundle"), "user@nowhere.invalid", "--verify", str(keys / "signers"))
    assert done.code == 2
    assert "is not signed" in done.err
