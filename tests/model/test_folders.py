"""Class folders: what is read, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeprune.errors import EdgepruneError
from edgeprune.model import folders
from edgeprune.model.data import Data, load_data
from edgeprune.spec.recipe import Source

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


def paint(
    root: Path,
    part: str,
    name: str,
    count: int,
    size: tuple[int, int] = (8, 8),
    grey: bool = False,
    ending: str = "png",
) -> None:
    folder = root / part / name
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        colour = (200 if name == "red" else 20) if grey else COLOURS.get(name, (9, 9, 9))
        Image.new("L" if grey else "RGB", size, colour).save(folder / f"{i:04}.{ending}")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("test", 3)):
        for name in COLOURS:
            paint(tmp_path, part, name, count)
    return tmp_path


def load(root: Path, image_size: int | None = None, seed: int = 0, scratch: Path | None = None) -> Data:
    return load_data(Source(model="m", data=str(root), val_share=0.2), image_size, seed, None, scratch)


def refusal(root: Path) -> str:
    with pytest.raises(EdgepruneError) as raised:
        load(root)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_reads_pixels_and_labels(photos: Path) -> None:
    data = load(photos)
    assert data.classes == ("blue", "red")
    assert [len(s) for s in (data.train, data.val, data.test)] == [16, 4, 6]
    for split in (data.train, data.val, data.test):
        assert split.images.dtype == np.uint8
        assert split.images.shape[1:] == (3, 8, 8)
        for image, label in zip(split.images, split.labels, strict=True):
            assert tuple(image[:, 4, 4]) == COLOURS[data.classes[label]]
    assert np.bincount(data.val.labels).tolist() == [2, 2]
    assert (data.augment, data.preprocessing.channels, data.preprocessing.crop) == ("crop-flip", "RGB", 8)
    assert data.preprocessing.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("ending", ["jpg", "bmp", "webp", "PNG"])
def test_every_format(tmp_path: Path, ending: str) -> None:
    for part in ("train", "test"):
        for name in COLOURS:
            paint(tmp_path, part, name, 3, ending=ending)
    assert len(load(tmp_path).test) == 6


def test_val_stands_in_for_test_or_is_the_validation_split(photos: Path) -> None:
    (photos / "test").rename(photos / "val")
    assert [len(s) for s in (load(photos).train, load(photos).test)] == [16, 6]
    for name in COLOURS:
        paint(photos, "test", name, 1)
    data = load(photos)
    assert [len(s) for s in (data.train, data.val, data.test)] == [20, 6, 2]


def test_grey_only_if_all_are(photos: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in COLOURS:
            paint(tmp_path / "grey", part, name, 3, grey=True)
    data = load(tmp_path / "grey")
    assert data.train.images.shape[1] == 1
    assert (data.augment, data.preprocessing.mean) == ("crop", (0.5,))
    paint(photos, "train", "red", 1, grey=True)
    assert load(photos).train.images.shape[1] == 3


def test_resizes_shorter_side_and_crops_the_centre(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in COLOURS:
            paint(tmp_path, part, name, 2, size=(60, 40))
    wide = Image.new("RGB", (120, 40), (0, 255, 0))
    wide.paste((255, 255, 255), (40, 0, 80, 40))
    wide.save(tmp_path / "test" / "red" / "9.png")
    data = load(tmp_path, 16)
    assert data.test.images.shape[2:] == (16, 16)
    assert (data.test.images[-1][:, :, 1:-1] == 255).all()
    different = load(tmp_path)
    assert (different.preprocessing.resize_shorter_to, different.preprocessing.crop) == (256, 224)


def test_own_size_if_all_are_equal(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in COLOURS:
            paint(tmp_path, part, name, 2, size=(12, 10))
    assert load(tmp_path).train.images.shape[2:] == (10, 10)


def test_split_is_seeded_and_fingerprint_follows_content(photos: Path) -> None:
    for i, file in enumerate(sorted(photos.rglob("*.png"))):
        with Image.open(file) as picture:
            changed = picture.copy()
        changed.putpixel((0, 0), (i, i, i))
        changed.save(file)
    first, same, other = load(photos, seed=1), load(photos, seed=1), load(photos, seed=2)
    assert first.fingerprint == same.fingerprint
    assert np.array_equal(first.val.images, same.val.images)
    assert not np.array_equal(first.val.images, other.val.images)
    assert np.array_equal(first.test.images, other.test.images)
    marks = [set(s.images[:, 0, 0, 0].tolist()) for s in (first.train, first.val, first.test)]
    assert not marks[0] & marks[1]
    assert not marks[2] & (marks[0] | marks[1])
    Image.new("RGB", (8, 8), (1, 2, 3)).save(photos / "test" / "red" / "0000.png")
    assert load(photos, seed=1).fingerprint != first.fingerprint


def test_large_sets_are_mapped(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = load(photos)
    monkeypatch.setattr(folders, "IN_MEMORY_BYTES", 1000)
    scratch = tmp_path / "scratch"
    mapped = load(photos, scratch=scratch)
    assert isinstance(mapped.train.images.base, np.memmap)
    assert mapped.fingerprint == in_memory.fingerprint
    assert list(scratch.iterdir()) == []


def test_few_unreadable_images_are_skipped_and_named(tmp_path: Path) -> None:
    for part, count in (("train", 75), ("test", 75)):
        for name in COLOURS:
            paint(tmp_path, part, name, count)
    (tmp_path / "test" / "red" / "0007.png").write_bytes(b"no picture")
    whole = (tmp_path / "train" / "blue" / "0003.png").read_bytes()
    (tmp_path / "train" / "blue" / "0003.png").write_bytes(whole[: len(whole) // 2])
    data = load(tmp_path)
    assert set(data.skipped) == {"test/red/0007.png", "train/blue/0003.png"}
    assert len(data.train) + len(data.val) + len(data.test) == 298
    for split in (data.train, data.val, data.test):
        assert [tuple(x[:, 0, 0]) for x in split.images] == [COLOURS[data.classes[y]] for y in split.labels]
    for i in range(3):
        (tmp_path / "test" / "blue" / f"000{i}.png").write_bytes(b"no picture")
    assert "5 of 300 images cannot be read, the first is" in refusal(tmp_path)


def test_refusals(photos: Path, tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "is empty. Expected: DATA/train/CLASS" in refusal(tmp_path / "empty")
    paint(tmp_path / "flat", "red", "x", 1)
    assert "has no train/. Expected: DATA/train/CLASS" in refusal(tmp_path / "flat")
    paint(tmp_path / "half", "train", "red", 1)
    assert "has no test/ or val/" in refusal(tmp_path / "half")
    for part in ("train", "test"):
        paint(tmp_path / "one", part, "red", 3)
    assert "only one class ('red')" in refusal(tmp_path / "one")
    (photos / "train" / "bare").mkdir()
    assert "test lacks class 'bare' of train" in refusal(photos)
    (photos / "test" / "bare").mkdir()
    assert "bare: holds no images (.bmp, .jpeg" in refusal(photos)
    (photos / "train" / "bare").rmdir()
    assert "test has class 'bare', train has not" in refusal(photos)
    (photos / "test" / "bare").rmdir()
    for i in range(1, 10):
        (photos / "train" / "red" / f"000{i}.png").unlink()
    assert "class 'red' has 1 training images; at least 2" in refusal(photos)
    for part in ("train", "test"):
        (tmp_path / "files" / part).mkdir(parents=True)
    assert "holds no class folders" in refusal(tmp_path / "files")


def test_says_how_far_it_is(photos: Path) -> None:
    told: list[tuple[str, int, int]] = []
    load_data(Source(model="m", data=str(photos)), None, 0, lambda *step: told.append(step), None)
    assert told[0] == ("reading images", 0, 26)
    assert told[-1] == ("reading images", 26, 26)
