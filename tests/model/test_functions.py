"""Images from a function of the user's own."""

from pathlib import Path

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.model.data import Data, load_data
from edgeprune.spec.recipe import Source

HEAD = """
import numpy as np
import torch
from PIL import Image
LABELS = [i % 2 for i in range(12)]
def both(image):
    pairs = [(image(i), y) for i, y in enumerate(LABELS)]
    return pairs, pairs[:6]
def data():
"""


def load(tmp_path: Path, body: str, image_size: int | None = None) -> Data:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + "\n".join(f"    {line}" for line in body.splitlines()))
    return load_data(Source(model="m", data=f"{path}:data"), image_size, 0, None, None)


def refusal(tmp_path: Path, body: str) -> str:
    with pytest.raises(EdgepruneError) as raised:
        load(tmp_path, body)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_pictures(tmp_path: Path) -> None:
    data = load(tmp_path, "return both(lambda i: Image.new('RGB', (10, 8), (i, 2 * i, 3 * i)))")
    assert data.test.images[:, :, 0, 0].tolist() == [[i, 2 * i, 3 * i] for i in range(6)]
    assert data.test.images.shape[2:] == (8, 8)
    assert data.test.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.augment == "crop"
    grey = load(tmp_path, "return both(lambda i: Image.new('L', (8, 8), i))", 16)
    assert grey.test.images.shape == (6, 1, 16, 16)


def test_arrays_one_by_one(tmp_path: Path) -> None:
    data = load(tmp_path, "return both(lambda i: np.full((8, 9, 3), i, np.uint8))")
    assert data.test.images.shape == (6, 3, 8, 8)
    assert data.test.images.dtype == np.uint8
    data = load(tmp_path, "return both(lambda i: torch.full((3, 8, 8), i - 5.5))")
    assert data.test.images[:, 0, 0, 0].tolist() == [i - 5.5 for i in range(6)]
    assert data.preprocessing.mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", ["np.array", "torch.tensor", "list"])
def test_pair_of_arrays(tmp_path: Path, kind: str) -> None:
    body = f"x, y = np.ones((12, 8, 8, 3), np.uint8), {kind}(LABELS)\nreturn (x, y), (x[:6], y[:6])"
    data = load(tmp_path, body)
    assert data.test.images.shape == (6, 3, 8, 8)
    assert data.test.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_sequence_of_two_is_no_array_pair(tmp_path: Path) -> None:
    body = "a = np.zeros((8, 8), np.uint8)\nreturn both(lambda i: a)[0], [[a, 0], [a, 1]]"
    assert len(load(tmp_path, body).test) == 2
    assert len(load(tmp_path, body.replace("[[a, 0], [a, 1]]", "((a, 0), (a, 1))")).test) == 2


def test_lazy_datasets(tmp_path: Path) -> None:
    body = """class Lazy:
    def __len__(self): return 12
    def __getitem__(self, i):
        return torch.zeros(1, 8, 8), torch.tensor(i % 2)
return Lazy(), Lazy()"""
    assert len(load(tmp_path, body).test) == 12
    broken = body.replace("return torch.zeros(1, 8, 8), torch.tensor(i % 2)", "raise KeyError('lost')")
    assert "train failed: KeyError: 'lost'" in refusal(tmp_path, broken)
    assert f"{tmp_path / 'mine.py'}:" in refusal(tmp_path, broken)


def test_refusals(tmp_path: Path) -> None:
    assert "returned NoneType. Return (train, test)" in refusal(tmp_path, "return None")
    assert "returned list of 3" in refusal(tmp_path, "return [1, 2, 3]")
    assert "train: is int" in refusal(tmp_path, "return 1, 2")
    assert "train: holds no images" in refusal(tmp_path, "return (), ()")
    assert "element 0 is str, not (image, label)" in refusal(tmp_path, "return ['ab'], ['ab']")
    assert "an image is str of <U1" in refusal(tmp_path, "return both(lambda i: 'x')")
    several = "return both(lambda i: np.zeros((8, 8), np.uint8 if i else np.float32))"
    assert "images are of several kinds" in refusal(tmp_path, several)
    assert "a label is NoneType" in refusal(
        tmp_path, "LABELS[:] = [None] * 12\nreturn both(lambda i: np.zeros((8, 8)))"
    )
    assert "data failed: ZeroDivisionError" in refusal(tmp_path, "return 1 / 0")
    with pytest.raises(EdgepruneError, match=r"no such file"):
        load_data(Source(model="m", data="none.py:data"))
