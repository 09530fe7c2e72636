"""`.npz`, the CIFAR binaries and the digits."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.model.data import Data, load_data
from edgeprune.spec.recipe import Source


def load(data: Path | str, image_size: int | None = None, **settings: Any) -> Data:
    return load_data(Source(model="m", data=str(data), **settings), image_size, 0, None, None)


def refusal(data: Path | str, **settings: Any) -> str:
    with pytest.raises(EdgepruneError) as raised:
        load(data, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def arrays(shape: tuple[int, ...] = (8, 9, 3)) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (30, *shape)).astype(np.uint8)
    y = np.arange(30) % 3
    return {"x_train": x[:21], "y_train": y[:21], "x_test": x[21:], "y_test": y[21:]}


def stored(path: Path, content: dict[str, np.ndarray]) -> Path:
    np.savez(path / "data.npz", **content)
    return path / "data.npz"


def test_npz_of_pictures(tmp_path: Path) -> None:
    held = arrays((8, 8, 3))
    data = load(stored(tmp_path, held))
    assert np.array_equal(data.test.images, held["x_test"].transpose(0, 3, 1, 2))
    assert np.array_equal(data.test.labels, held["y_test"])
    assert data.classes == ("0", "1", "2")
    assert (data.augment, data.preprocessing.mean[0]) == ("crop", 0.485)
    assert len(data.train) + len(data.val) == 21


@pytest.mark.parametrize(("shape", "channels"), [((8, 8), 1), ((8, 8, 1), 1), ((3, 8, 8), 3), ((2, 8, 8), 2)])
def test_npz_axes(tmp_path: Path, shape: tuple[int, ...], channels: int) -> None:
    data = load(stored(tmp_path, arrays(shape)))
    assert data.train.images.shape[1:] == (channels, 8, 8)
    assert data.preprocessing.channels == {1: "L", 3: "RGB", 2: "any"}[channels]


def test_npz_other_names_and_own_validation(tmp_path: Path) -> None:
    held = arrays()
    renamed = {
        "train_images": held["x_train"],
        "train_labels": held["y_train"][:, None],
        "val_images": held["x_test"],
        "val_labels": held["y_test"][:, None],
        "test_images": held["x_test"],
        "test_labels": held["y_test"][:, None],
    }
    data = load(stored(tmp_path, renamed))
    assert [len(s) for s in (data.train, data.val, data.test)] == [21, 9, 9]


def test_floats_stay_but_whole_pixels_become_bytes(tmp_path: Path) -> None:
    held = arrays((3, 8, 8))
    pixels = {k: v.astype(np.float32) if k[0] == "x" else v for k, v in held.items()}
    assert np.array_equal(load(stored(tmp_path, pixels)).test.images, held["x_test"])
    scaled = {k: v / np.float32(255) if k[0] == "x" else v for k, v in held.items()}
    data = load(stored(tmp_path, scaled))
    assert data.test.images.dtype == np.float32
    assert np.array_equal(data.test.images, scaled["x_test"])
    assert (data.preprocessing.mean, data.preprocessing.std) == ((0.0,) * 3, (1.0,) * 3)


def test_labels_may_be_names_or_any_numbers(tmp_path: Path) -> None:
    held = arrays()
    names = np.array(["ant", "bee", "cat"])
    named = {k: names[v] if k[0] == "y" else v for k, v in held.items()}
    data = load(stored(tmp_path, named))
    assert data.classes == ("ant", "bee", "cat")
    assert np.array_equal(data.test.labels, held["y_test"])
    shifted = {k: 5 + 2 * v if k[0] == "y" else v for k, v in held.items()}
    assert load(stored(tmp_path, shifted)).classes == ("5", "7", "9")


def test_mean_and_std_as_asked(tmp_path: Path) -> None:
    path = stored(tmp_path, arrays((8, 8)))
    assert load(path, mean=(0.1,), std=(0.2,), augment="none").preprocessing.std == (0.2,)
    assert load(path, augment="crop-flip").augment == "crop-flip"
    told = refusal(path, mean=(0.1, 0.1, 0.1), std=(0.2, 0.2, 0.2))
    assert "mean and std have 3 values, the images 1 channels" in told
    assert "Give values above 0" in refusal(path, mean=(0.1,), std=(0.0,))


def test_npz_refusals(tmp_path: Path) -> None:
    held = arrays()

    def told(**changes: np.ndarray) -> str:
        return refusal(stored(tmp_path, {**held, **changes}))

    (tmp_path / "text.npz").write_text("no zip")
    assert "cannot be read as .npz without pickle" in refusal(tmp_path / "text.npz")
    assert "holds a, b. Save x_train" in refusal(stored(tmp_path, {"a": np.zeros(1), "b": np.zeros(1)}))
    assert "cannot be read as .npz without pickle" in told(y_test=np.array([None] * 9))
    assert "train has 21 images but 20 labels" in told(y_train=held["y_train"][:20])
    assert "one column per class" in told(y_train=np.eye(3)[held["y_train"]])
    assert "images of train and test differ" in told(x_test=held["x_test"][:, :4])
    assert "have shape 21" in told(x_train=np.zeros(21, np.uint8))
    assert "labels of train are float64" in told(y_train=held["y_train"] + 0.5)
    assert "test lacks class '2' of train" in told(y_test=held["y_test"] % 2)
    assert "test has class '9', train has not" in told(y_test=np.where(np.arange(9) == 0, 9, held["y_test"]))
    assert "only one class ('0')" in told(y_test=held["y_test"] * 0, y_train=held["y_train"] * 0)
    broken = np.where(np.arange(21)[:, None, None, None] == 3, np.nan, held["x_train"] / 255)
    assert "hold NaN" in told(x_train=broken)
    assert "has 1 training images" in told(y_train=np.r_[0, 1, 2, np.zeros(18, int)])
    (tmp_path / "data.csv").write_text("1,2")
    assert "not a kind of data that is known" in refusal(tmp_path / "data.csv")


def records(labels: np.ndarray, label_bytes: int, seed: int = 0) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072)).astype(np.uint8)
    head = np.repeat(labels[:, None], label_bytes, 1).astype(np.uint8)
    return np.concatenate([head, pixels], 1).tobytes(), pixels.reshape(-1, 3, 32, 32)


def test_cifar10_binaries(tmp_path: Path) -> None:
    for i in range(1, 6):
        (tmp_path / f"data_batch_{i}.bin").write_bytes(records(np.arange(20) % 10, 1, i)[0])
    content, pixels = records(np.arange(10)[::-1], 1)
    (tmp_path / "test_batch.bin").write_bytes(content)
    data = load(tmp_path)
    assert np.array_equal(data.test.images, pixels)
    assert data.test.labels.tolist() == list(range(9, -1, -1))
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert (len(data.train) + len(data.val), data.augment) == (100, "crop-flip")
    (tmp_path / "test_batch.bin").write_bytes(content[:-1])
    assert "are not CIFAR records of 3073" in refusal(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    assert "Unpack the whole CIFAR archive" in refusal(tmp_path)


def test_cifar100_counts_fine_labels(tmp_path: Path) -> None:
    labels = np.arange(200) % 100
    content = bytearray(records(labels, 2)[0])
    content[::3074] = bytes(200)  # coarse labels
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"kind{i}" for i in range(100)))
    data = load(tmp_path)
    assert len(data.classes) == 100
    assert data.classes[42] == "kind42"
    assert np.array_equal(data.test.labels, labels)


def test_cifar_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({}))
    assert "can run any code when read. Give the folder of the binary version" in refusal(tmp_path)


def test_digits() -> None:
    data = load("digits")
    assert sum(map(len, (data.train, data.val, data.test))) == 1797
    assert abs(len(data.test) / 1797 - 0.25) < 0.01
    assert data.classes == tuple("0123456789")
    assert data.train.images.shape[1:] == (1, 8, 8)
    assert data.train.images.max() == 255
    assert data.fingerprint == load("digits").fingerprint
    other_seed = load_data(Source(model="m", data="digits"), None, 5)
    assert np.array_equal(other_seed.test.images, data.test.images)
    assert not np.array_equal(other_seed.val.images, data.val.images)
    assert load("digits", 32).test.images.shape[1:] == (1, 32, 32)
