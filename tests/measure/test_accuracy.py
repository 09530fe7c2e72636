"""Accuracy on the device: the same pixels as on the host, the right rows, and folders that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.measure.accuracy import find_images, prepared
from edgeprune.measure.profile import Wishes, profile_bundle
from edgeprune.spec.bundle import Preprocessing, open_bundle

Image = pytest.importorskip("PIL.Image")
HOW = Preprocessing(channels="RGB", resize_shorter_to=3, crop=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture
def pictures(tmp_path):
    """Two classes of ten pictures of several sizes, one file of which is broken."""
    rng = np.random.default_rng(0)
    for name in ("a", "c"):
        folder = tmp_path / "photos" / "test" / name
        folder.mkdir(parents=True)
        for i in range(60):
            size = (5 + i % 3, 4 + i % 4, 3)
            Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / f"{i:02}.png")
    (tmp_path / "photos" / "test" / "a" / "00.png").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def bundle(make_bundle):
    """A bundle of RGB pictures: the linear network of `make_bundle` takes [2, 3, 3], so another is made for three."""

    def make(**fields):
        return make_bundle(channels=3, preprocessing=HOW.model_dump(), **fields)

    return make


def test_every_image_counts_once_and_broken_ones_are_told(bundle, pictures):
    folder = bundle()
    profile = profile_bundle(folder, seconds=0.05, threads=1, wishes=Wishes(data=pictures))
    found = profile.measured_accuracy
    assert found is not None
    assert (found.count, found.skipped, found.data) == (119, 1, "test")
    assert len(found.data_sha256) == 64
    weight = np.load(folder / "weight.npy")
    right = 0
    for name, label in (("a", 0), ("c", 2)):
        for file in sorted((pictures / "test" / name).glob("*.png")):
            try:
                picture = Image.open(file)
            except OSError:
                continue
            # The obvious way: shorter side to 3, centre, channels first, scaled, normalised.
            width, height = picture.size
            scale = 3 / min(width, height)
            sized = picture.resize((max(3, round(width * scale)), max(3, round(height * scale))), 2)
            left, top = (sized.width - 3) // 2, (sized.height - 3) // 2
            x = np.asarray(sized.crop((left, top, left + 3, top + 3))).transpose(2, 0, 1) / 255
            x = (x - np.array(HOW.mean).reshape(3, 1, 1)) / np.array(HOW.std).reshape(3, 1, 1)
            right += int((x.reshape(-1) @ weight).argmax() == label)
    assert found.value == pytest.approx(right / 119)
    assert found.standard_error == pytest.approx((found.value * (1 - found.value) / 119) ** 0.5)


def test_inputs_are_those_of_the_host():
    torch = pytest.importorskip("torch")
    from edgeprune.model.batches import normalise

    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 3, 3), np.uint8)
    host = normalise(pixels, HOW)
    assert isinstance(host, torch.Tensor)
    np.testing.assert_array_equal(prepared(pixels, HOW), host.numpy())


def test_folders_that_do_not_fit_are_refused_before_anything_is_timed(bundle, pictures, tmp_path, monkeypatch):
    opened = open_bundle(bundle())
    (pictures / "test" / "zebra").mkdir()
    with pytest.raises(EdgepruneError, match="'zebra' is none of the bundle's classes"):
        find_images(pictures, opened)
    with pytest.raises(EdgepruneError, match="no such folder"):
        find_images(tmp_path / "nowhere", opened)
    (tmp_path / "empty" / "b").mkdir(parents=True)
    with pytest.raises(EdgepruneError, match="holds no images"):
        find_images(tmp_path / "empty", opened)
    monkeypatch.setattr("edgeprune.measure.profile.measure_latency", pytest.fail)
    with pytest.raises(EdgepruneError, match="zebra"):
        profile_bundle(opened.path, seconds=0.05, wishes=Wishes(data=pictures))


def test_a_network_of_arrays_has_no_pictures(make_bundle, pictures):
    with pytest.raises(EdgepruneError, match="trained on arrays"):
        find_images(pictures, open_bundle(make_bundle()))


def test_without_pillow_the_command_that_brings_it_is_named(bundle, pictures, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("PIL"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EdgepruneError, match="pip install pillow"):
        find_images(pictures, open_bundle(bundle()))


def test_too_many_broken_files_are_refused(bundle, pictures):
    for i in range(1, 3):
        (pictures / "test" / "a" / f"0{i}.png").write_bytes(b"")
    with pytest.raises(EdgepruneError, match="3 images or more cannot be read"):
        profile_bundle(bundle(), seconds=0.05, threads=1, wishes=Wishes(data=pictures))
