"""Batches of crops are a pure function of seed and step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geodiff.errors import DataError
from geodiff.jobs.datasets.dataset import CropSampler, PatchSet, open_sets, orient


@pytest.fixture(scope="module")
def patches(dataset: Path) -> PatchSet:
    """The tiny data set."""
    return PatchSet.open(dataset)


def test_both_splits_are_there_and_disjoint(patches: PatchSet) -> None:
    train, val = patches.split("train"), patches.split("val")
    assert len(train) > 8
    assert len(val) > 4
    assert not set(train) & set(val)
    assert len(train) + len(val) == len(patches.pixels) == 48
    assert patches.gsd == pytest.approx(0.6)


def test_the_eight_orientations_differ_and_keep_pixels() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    turned = [orient(image, turn) for turn in range(8)]
    assert len({view.tobytes() for view in turned}) == 8
    assert {view.shape for view in turned} == {(4, 4, 3)}
    assert all(sorted(view[..., 0].ravel()) == sorted(image[..., 0].ravel()) for view in turned)
    assert np.array_equal(turned[0], image)
    stack = np.stack([image, image + 1])
    assert np.array_equal(orient(stack, 5)[1], orient(image + 1, 5))


def test_batches_depend_on_seed_and_step_alone(patches: PatchSet) -> None:
    sampler = CropSampler((patches,), 32, seed=1)
    images, gsd = sampler.batch(5, 6)
    assert images.shape == (6, 32, 32, 3)
    assert np.array_equal(gsd, np.full(6, 0.6, np.float32))
    sampler.batch(9, 3)
    assert np.array_equal(sampler.batch(5, 6)[0], images)
    assert not np.array_equal(sampler.batch(6, 6)[0], images)
    assert not np.array_equal(replace(sampler, seed=2).batch(5, 6)[0], images)


def test_crops_come_from_the_split_in_some_orientation(patches: PatchSet) -> None:
    sampler = CropSampler((patches,), patches.pixels.shape[1], seed=0, split="val")
    known = {
        orient(np.array(patches.pixels[row]), turn).tobytes()
        for row in patches.split("val")
        for turn in range(8)
    }
    assert all(image.tobytes() in known for image in sampler.batch(0, 12)[0])


def test_weights_choose_the_set(patches: PatchSet) -> None:
    table = patches.table.assign(gsd=1.0)
    other = PatchSet(patches.pixels, table, patches.path)
    sampler = CropSampler((patches, other), 16, 0, weights=(0.0, 2.0))
    assert set(sampler.batch(0, 20)[1]) == {np.float32(1.0)}
    assert len(set(replace(sampler, weights=()).batch(0, 30)[1])) == 2


def test_sets_must_suit_the_crop(dataset: Path) -> None:
    assert len(open_sets((str(dataset),), 64)) == 1
    with pytest.raises(DataError, match="patches of 64 px, smaller than the crop of 65 px"):
        open_sets((str(dataset),), 65)


@pytest.mark.parametrize("content", [None, b"", b"no array"])
def test_what_is_no_data_set(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pixels.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"is not a prepared dataset .* with `geodiff prepare`"):
        PatchSet.open(tmp_path)
