import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.data import Split, load_data
from edgeprune.model.evaluate import Accuracy, accuracy
from edgeprune.model.load import default_image_size, open_model
from edgeprune.spec.bundle import Preprocessing
from edgeprune.spec.recipe import Source

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
PLAIN = Preprocessing(channels="L", resize_shorter_to=1, crop=1, mean=(0.0,), std=(1.0,))


class Marks(nn.Module):
    """Takes the pixel for the class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(x.flatten().long(), 4).float()


def marked(wrong: int, count: int = 10) -> Split:
    labels = np.arange(count) % 4
    images = np.where(np.arange(count) < wrong, (labels + 1) % 4, labels).astype(np.float32)
    return Split(images[:, None, None, None], labels)


def test_share_and_binomial_error() -> None:
    told: list[tuple[str, int, int]] = []
    result = accuracy(Marks(), marked(2), PLAIN, lambda *step: told.append(step), batch_size=4)
    assert result == Accuracy(0.8, pytest.approx((0.8 * 0.2 / 10) ** 0.5), 10)
    assert told == [("evaluating", n, 10) for n in (0, 4, 8, 10)]


def test_functions_of_arrays_count_alike() -> None:
    def run(x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.float32
        return np.eye(4)[x.reshape(-1).astype(int)]

    assert accuracy(run, marked(3), PLAIN) == accuracy(Marks(), marked(3), PLAIN)


def test_outputs_that_are_no_numbers() -> None:
    with pytest.raises(EdgepruneError, match="NaN"):
        accuracy(lambda x: np.full((len(x), 4), np.nan), marked(0), PLAIN)


@pytest.mark.slow
def test_shared_checkpoint_reaches_its_accuracy(tmp_path: Path) -> None:
    weights, packed = SHARED / "resnet20-cifar10-jpeg.safetensors", SHARED / "cifar10-jpeg.tar.gz"
    if not (weights.is_file() and packed.is_file()):
        pytest.skip("the trained weights and their images do not lie beside this checkout")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    root = next(folder.parent for folder in tmp_path.rglob("train") if folder.is_dir())
    source = Source(model="resnet20", data=str(root), weights=str(weights))
    data = load_data(source, default_image_size(source.model), 0, None, None)
    assert [len(s) for s in (data.train, data.val, data.test)] == [45_000, 5_000, 5_000]
    traced = open_model(source, len(data.classes), data.channels, data.preprocessing.crop)
    assert accuracy(traced.module, data.test, data.preprocessing).value == pytest.approx(0.8814, abs=1e-9)
