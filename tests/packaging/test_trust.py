"""Who signed it is asked before anything of it runs; every file of a package is covered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.packaging import signature
from edgeprune.packaging.archive import unpack
from edgeprune.packaging.check import check
from edgeprune.packaging.forms import Order
from edgeprune.packaging.signature import sign, verify
from edgeprune.packaging.write import package_bundle
from edgeprune.spec.bundle import open_bundle
from tests.packaging.conftest import allow


def test_a_signature_says_who(signed: Path, keys: Path) -> None:
    found = check(signed, keys / "signers")
    assert found.vouched is not None
    assert found.vouched.principal == "maker@example.org"
    assert found.unlisted == ()


def test_only_listed_signers_count(make_bundle, tmp_path: Path, keys: Path) -> None:
    theirs = package_bundle(Order(open_bundle(make_bundle()), 8), "bundle", tmp_path / "theirs", keys / "theirs")
    with pytest.raises(EdgepruneError, match=r"signed by nobody whom .* lists"):
        check(theirs, keys / "signers")
    unsigned = package_bundle(Order(open_bundle(tmp_path / "bundle"), 8), "bundle", tmp_path / "unsigned")
    with pytest.raises(EdgepruneError, match="is not signed"):
        check(unsigned, keys / "signers")


def test_a_signature_for_something_else_does_not_count(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "NAMESPACE", "git")
    made = sign(b"text", keys / "ours")
    monkeypatch.undo()
    with pytest.raises(EdgepruneError, match=r"is not what maker@example\.org signed"):
        verify(b"text", made, keys / "signers", "it")
    with pytest.raises(EdgepruneError, match="is not what"):
        verify(b"texT", sign(b"text", keys / "ours"), keys / "signers", "it")
    assert verify(b"text", sign(b"text", keys / "ours"), keys / "signers", "it").principal == "maker@example.org"


def test_a_key_that_is_no_longer_valid_does_not_count(tmp_path: Path, keys: Path) -> None:
    old = allow(tmp_path / "signers", "maker@example.org", keys / "ours", 'valid-before="20200101"')
    with pytest.raises(EdgepruneError, match=r"signed by nobody|is not what"):
        verify(b"text", sign(b"text", keys / "ours"), old, "it")


def test_a_line_may_name_several_people(tmp_path: Path, keys: Path) -> None:
    several = allow(tmp_path / "signers", "a@example.org,b@example.org", keys / "ours")
    assert "a@example.org" in verify(b"text", sign(b"text", keys / "ours"), several, "it").principal


@pytest.mark.parametrize("damage", [b"", b"x", b"-----BEGIN SSH SIGNATURE-----\n" * 9, b"\xff" * 70_000])
def test_a_damaged_signature_is_one_line(keys: Path, damage: bytes) -> None:
    with pytest.raises(EdgepruneError) as refused:
        verify(b"text", damage, keys / "signers", "it")
    assert "\n" not in str(refused.value)


def test_faults_of_keys_are_one_line(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdgepruneError, match="no key there"):
        sign(b"text", tmp_path / "nothing")
    (tmp_path / "nonsense").write_text("no key")
    (tmp_path / "nonsense").chmod(0o600)
    with pytest.raises(EdgepruneError, match=r"ssh-keygen does not sign with it \(.+\)"):
        sign(b"text", tmp_path / "nonsense")
    with pytest.raises(EdgepruneError, match="no file of allowed signers"):
        verify(b"text", b"x", tmp_path / "nobody", "it")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgepruneError, match="ssh-keygen is not here"):
        sign(b"text", keys / "ours")


@pytest.mark.parametrize("form", ["bundle", "cpp", "python", "triton"])
def test_one_byte_of_any_file_is_noticed(make_bundle, tmp_path: Path, keys: Path, form) -> None:
    folder = package_bundle(Order(open_bundle(make_bundle()), 8), form, tmp_path / "package", keys / "ours")
    assert check(folder, keys / "signers").unlisted == ()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(EdgepruneError) as refused:
            check(folder, keys / "signers")
        assert "\n" not in str(refused.value)
        path.write_bytes(content)
    (folder / "engine.plan").write_bytes(b"a stranger's")
    assert check(folder, keys / "signers").unlisted == ("engine.plan",)


def test_a_link_out_of_a_package_is_refused(signed: Path, tmp_path: Path) -> None:
    shutil.move(signed / "labels.txt", tmp_path / "labels.txt")
    (signed / "labels.txt").symlink_to(tmp_path / "labels.txt")
    with pytest.raises(EdgepruneError, match=r"labels\.txt does not match"):
        check(signed)


def test_an_archive_is_checked_before_it_is_unpacked(make_bundle, tmp_path: Path, keys: Path) -> None:
    order = Order(open_bundle(make_bundle()), 8)
    ours = package_bundle(order, "cpp", tmp_path / "ours.tar.gz", keys / "ours")
    theirs = package_bundle(order, "cpp", tmp_path / "theirs.tar.gz", keys / "theirs")
    contents, vouched = unpack(ours, tmp_path / "out", keys / "signers")
    assert vouched is not None
    assert contents.bundle == "bundle"
    assert check(tmp_path / "out", keys / "signers").vouched == vouched
    assert check(ours, keys / "signers").what == "archive of cpp net"
    # The bundle in it is signed too, and stays so where it is copied on alone.
    assert check(tmp_path / "out/bundle", keys / "signers").what == "bundle net"
    for archive, said in (
        (theirs, "signed by nobody"),
        (package_bundle(order, "cpp", tmp_path / "n.tgz"), "not signed"),
    ):
        with pytest.raises(EdgepruneError, match=said):
            unpack(archive, tmp_path / "refused", keys / "signers")
        assert not (tmp_path / "refused").exists()


def test_a_plan_beside_a_bundle_is_named(make_bundle) -> None:
    folder = make_bundle()
    assert check(folder).unlisted == ()
    (folder / "engines").mkdir()
    (folder / "engines/x.plan").write_bytes(b"a stranger's")
    assert check(folder).unlisted == ("engines/x.plan",)
