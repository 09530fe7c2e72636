import numpy as np
import pytest
import torch

from edgeprune.model.batches import eval_batches, normalise, sample, train_batches
from edgeprune.model.data import Split
from edgeprune.spec.bundle import Preprocessing

PLAIN = Preprocessing(channels="L", resize_shorter_to=16, crop=16, mean=(0.0,), std=(1.0,))


def numbered(count: int, side: int = 16, classes: int = 3) -> Split:
    """Image i holds i + 1 everywhere, so that it can be told after any crop."""
    values = np.arange(1, count + 1, dtype=np.float32)[:, None, None, None]
    images = np.broadcast_to(values, (count, 1, side, side)).copy()
    return Split(images, np.arange(count) % classes)


def test_normalise_follows_the_formula() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype(np.uint8)
    like = Preprocessing(channels="RGB", resize_shorter_to=4, crop=4, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    want = (x / 255 - np.array(like.mean)[:, None, None]) / np.array(like.std)[:, None, None]
    np.testing.assert_allclose(normalise(x, like).numpy(), want, rtol=1e-5, atol=1e-6)
    assert torch.equal(normalise(torch.from_numpy(x), like), normalise(x, like))
    assert normalise(x, like).dtype == torch.float32


def test_normalise_leaves_its_input_alone() -> None:
    x = np.full((1, 1, 2, 2), 3.0, dtype=np.float32)
    x.flags.writeable = False
    like = PLAIN.model_copy(update={"mean": (1.0,), "std": (2.0,)})
    assert (normalise(x, like) == 1).all()
    assert (x == 3).all()
    tensor = torch.full((1, 1, 2, 2), 3.0)
    normalise(tensor, like)
    assert (tensor == 3).all()


def test_eval_batches_hold_all_in_order() -> None:
    split = numbered(10)
    batches = eval_batches(split, PLAIN, 4)
    assert [len(y) for _, y in batches] == [4, 4, 2]
    assert len(batches) == 3
    assert torch.equal(torch.cat([x for x, _ in batches]), torch.from_numpy(split.images))
    assert torch.equal(torch.cat([y for _, y in batches]), torch.from_numpy(split.labels))


def epoch(split: Split, seed: int, number: int, augment: str = "crop-flip", size: int = 8):  # type: ignore[no-untyped-def]
    return train_batches(split, PLAIN, size, augment, seed, number)  # type: ignore[arg-type]


def test_seed_and_epoch_alone_decide() -> None:
    split = numbered(32)
    first = torch.cat([x for x, _ in epoch(split, 1, 2)])
    torch.manual_seed(99)
    np.random.seed(99)
    batches = epoch(split, 1, 2)
    assert torch.equal(first, torch.cat([x for x, _ in batches]))
    assert torch.equal(first, torch.cat([x for x, _ in batches])), "a second pass differs"
    for seed, number in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(first, torch.cat([x for x, _ in epoch(split, seed, number)]))


@pytest.mark.parametrize("augment", ["none", "crop", "crop-flip"])
@pytest.mark.parametrize(("count", "sizes"), [(32, [8] * 4), (30, [8, 8, 8, 6]), (25, [8] * 3)])
def test_every_image_once_but_a_lone_last(augment: str, count: int, sizes: list[int]) -> None:
    split = numbered(count)
    batches = list(epoch(split, 0, 0, augment))
    assert [len(y) for _, y in batches] == sizes
    seen = torch.cat([x.amax((1, 2, 3)) for x, _ in batches]).long() - 1
    assert len(set(seen.tolist())) == sum(sizes)
    labels = torch.cat([y for _, y in batches])
    assert labels.tolist() == split.labels[seen.numpy()].tolist()


def test_crop_and_flip_equal_a_slow_twin() -> None:
    generator = np.random.default_rng(0)
    images = generator.normal(size=(40, 2, 16, 16)).astype(np.float32)
    split = Split(images, np.arange(40))
    like = PLAIN.model_copy(update={"mean": (0.0, 0.0), "std": (1.0, 1.0)})
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    mirrored, places = 0, set()
    for x, y in train_batches(split, like, 8, "crop-flip", 0, 0):
        for image, label in zip(x.numpy(), y.tolist(), strict=True):
            found = [
                (top, left, flip)
                for top in range(5)
                for left in range(5)
                for flip in (False, True)
                if np.array_equal(
                    image[:, :, ::-1] if flip else image, padded[label, :, top : top + 16, left : left + 16]
                )
            ]
            assert len(found) == 1
            places.add(found[0][:2])
            mirrored += found[0][2]
    assert 8 <= mirrored <= 32
    assert len(places) > 12
    unmirrored = torch.cat([x for x, _ in train_batches(split, like, 8, "none", 0, 0)])
    assert sorted(unmirrored[:, 0, 0, 0].tolist()) == sorted(images[:, 0, 0, 0].tolist())


def test_sample_is_balanced_seeded_and_without_repeats() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 5])
    split = Split(numbered(85).images, labels)
    x, y = sample(split, PLAIN, 12, 0)
    assert torch.bincount(y).tolist() == [4, 4, 4]
    rows = (x[:, 0, 0, 0] - 1).long()
    assert len(set(rows.tolist())) == 12
    assert torch.equal(torch.from_numpy(labels)[rows], y)
    assert torch.equal(sample(split, PLAIN, 12, 0)[0], x)
    assert not torch.equal(sample(split, PLAIN, 12, 1)[0], x)
    assert torch.bincount(sample(split, PLAIN, 45, 0)[1]).tolist() == [20, 20, 5]
    assert len(sample(split, PLAIN, 1000, 0)[1]) == 85
