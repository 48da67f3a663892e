"""The prior is a pure function of seed and position that walks through an atlas."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from geodiff.errors import ModelError
from geodiff.models.prior import AXES, AtlasPrior
from geodiff.models.priors import load_prior
from geodiff.window import Window


@pytest.fixture(scope="module")
def prior() -> AtlasPrior:
    """An atlas of 60 blocks of 2 x 2 cells, each block around a direction of its own."""
    rng = np.random.default_rng(0)
    middle = rng.standard_normal((60, 1, 1, 12))
    blocks = (middle + 0.3 * rng.standard_normal((60, 2, 2, 12))).astype(np.float32)
    return AtlasPrior.fit(blocks / np.linalg.norm(blocks, axis=-1, keepdims=True))


def likeness(vectors: NDArray[np.float32], lag: int) -> float:
    """Mean cosine of cells ``lag`` columns apart."""
    return float((vectors[:, lag:] * vectors[:, :-lag]).sum(-1).mean())


@pytest.mark.parametrize(
    "part", [Window(-5, 3, 7, 9), Window(0, 0, 1, 1), Window(-11, -3, 1, 20), Window(2, 4, 9, 1)]
)
def test_overlapping_windows_agree_to_the_bit(prior: AtlasPrior, part: Window) -> None:
    whole = Window(-12, -8, 30, 33)
    rows, cols = part.within(whole)
    assert np.array_equal(prior.sample(5, part), prior.sample(5, whole)[rows, cols])


def test_cells_are_unit_vectors_of_the_atlas(prior: AtlasPrior) -> None:
    vectors = prior.sample(1, Window(-3, 2, 10, 12))
    assert vectors.shape == (10, 12, 12)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)
    atlas = prior.blocks.reshape(-1, 12)
    assert float((vectors.reshape(-1, 12) @ atlas.T).max(1).min()) > 1 - 1e-5


def test_blocks_are_laid_whole_and_aligned_to_the_lattice(prior: AtlasPrior) -> None:
    chosen = prior.choose(3, Window(-2, 1, 3, 4))
    vectors = prior.sample(3, Window(-4, 2, 6, 8))
    np.testing.assert_allclose(vectors[2:4, 4:6], prior.blocks[chosen[1, 2]], atol=1e-6)


def test_neighbours_are_more_alike_than_far_places(prior: AtlasPrior) -> None:
    vectors = prior.sample(0, Window(0, 0, 60, 120))
    assert likeness(vectors, 2) > likeness(vectors, 60) + 0.1
    walk = prior.walk(0, Window(0, 0, 60, 60))
    assert np.corrcoef(walk[0, :, 1:].ravel(), walk[0, :, :-1].ravel())[0, 1] > 0.8


def test_the_walk_has_unit_variance(prior: AtlasPrior) -> None:
    walk = np.concatenate([prior.walk(seed, Window(0, 0, 120, 120)) for seed in range(4)])
    assert walk.shape == (4 * AXES, 120, 120)
    assert float(walk.var()) == pytest.approx(1, abs=0.1)
    assert abs(float(walk.mean())) < 0.1


def test_seeds_differ(prior: AtlasPrior) -> None:
    window = Window(0, 0, 20, 20)
    assert (prior.choose(0, window) != prior.choose(1, window)).mean() > 0.8


def test_choice_covers_the_atlas(prior: AtlasPrior) -> None:
    chosen = np.concatenate([prior.choose(s, Window(0, 0, 60, 60)).ravel() for s in range(6)])
    counts = np.bincount(chosen, minlength=60)
    assert (counts > 0).mean() > 0.9
    assert counts.max() / counts.sum() < 0.15


@pytest.mark.parametrize("choices", [1, 2, 6, 100])
def test_each_of_the_nearest_blocks_is_equally_likely(prior: AtlasPrior, choices: int) -> None:
    window = Window(0, 0, 150, 150)
    some = replace(prior, choices=choices)
    walk = np.moveaxis(some.walk(4, window), 0, -1)
    gap = ((walk[:, :, None] - some.places) ** 2).sum(-1)
    ranks = np.argsort(np.argsort(gap, axis=-1, kind="stable"), axis=-1)
    chosen = some.choose(4, window)[..., None]
    counts = np.bincount(np.take_along_axis(ranks, chosen, -1).ravel(), minlength=60)
    used = min(choices, 60)
    assert counts[used:].sum() == 0
    assert used == 1 or stats.chisquare(counts[:used]).pvalue > 1e-4


def test_saving_keeps_the_choices(prior: AtlasPrior, tmp_path: Path) -> None:
    changed = replace(prior, reach=1.5, choices=3)
    changed.save(tmp_path)
    loaded = AtlasPrior.load(tmp_path)
    window = Window(-4, -4, 12, 12)
    assert (loaded.reach, loaded.jitter, loaded.choices) == (1.5, 0.05, 3)
    assert np.array_equal(loaded.choose(2, window), changed.choose(2, window))
    np.testing.assert_allclose(loaded.sample(2, window), changed.sample(2, window), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(loaded.sample(2, window), axis=-1), 1, atol=1e-6)


def test_a_small_atlas_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 8 blocks of cells, got 7"):
        AtlasPrior.fit(np.ones((7, 2, 2, 5), np.float32))


@pytest.mark.parametrize("broken", ["prior.json", "atlas.safetensors"])
@pytest.mark.parametrize("how", ["gone", "truncated", "empty"])
def test_damaged_parts_are_one_line(folder: Path, tmp_path: Path, broken: str, how: str) -> None:
    copy = tmp_path / "prior"
    shutil.copytree(folder / "prior", copy)
    content = (copy / broken).read_bytes()
    (copy / broken).unlink()
    if how != "gone":
        (copy / broken).write_bytes(content[: len(content) // 2] if how == "truncated" else b"")
    with pytest.raises(ModelError, match=r"^the prior in .* cannot be loaded: .+$") as caught:
        AtlasPrior.load(copy)
    assert "\n" not in str(caught.value)


def test_another_kind_of_prior_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "prior", tmp_path / "prior")
    (tmp_path / "prior" / "prior.json").write_text('{"kind": "oracle"}')
    for load in (AtlasPrior.load, load_prior):
        with pytest.raises(ModelError, match="of a kind this version does not know"):
            load(tmp_path / "prior")
