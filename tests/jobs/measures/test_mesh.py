"""The mesh that a decoder leaves: seen where it is, at any phase, and nowhere else."""

import numpy as np
import pytest

from geodiff.jobs.measures.mesh import mesh


def grain(seed: int, sigma: float = 20.0, count: int = 12, side: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).normal(128, sigma, (count, 3, side, side))


def levels(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def tiled(pattern: np.ndarray, side: int = 128) -> np.ndarray:
    return np.tile(pattern, (side // len(pattern), side // len(pattern)))


def test_grain_and_waves_of_other_lengths_have_none():
    assert mesh(levels(grain(0)), 8) == pytest.approx(1, abs=0.15)
    rows, cols = np.mgrid[:128, :128]
    other = 30 * np.sin(2 * np.pi * rows / 5.2) * np.sin(2 * np.pi * cols / 5.3)
    assert mesh(levels(grain(1) + other), 8) == pytest.approx(1, abs=0.15)


def test_a_pattern_in_every_latent_is_seen_at_any_phase():
    pattern = np.random.default_rng(2).normal(0, 4, (8, 8))
    found = [
        mesh(levels(grain(3) + np.roll(tiled(pattern), shift, (0, 1))), 8)
        for shift in ((0, 0), (3, 5))
    ]
    assert min(found) > 2
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_a_stronger_pattern_gives_more_and_quiet_ground_shows_it_sooner():
    pattern = tiled(np.random.default_rng(4).normal(0, 1, (8, 8)))
    faint, strong = (mesh(levels(grain(5) + by * pattern), 8) for by in (2, 8))
    assert 1 < faint < strong
    assert mesh(levels(grain(6, sigma=4) + 2 * pattern), 8) > faint


def test_stripes_along_rows_or_columns_are_no_mesh():
    stripes = 20 * np.sin(2 * np.pi * np.arange(128) / 8)[:, None] + np.zeros((128, 128))
    assert mesh(levels(grain(7) + stripes), 8) == pytest.approx(1, abs=0.15)
    assert mesh(levels(grain(7) + stripes.T), 8) == pytest.approx(1, abs=0.15)


def test_images_too_small_or_empty_have_no_figure():
    assert mesh(levels(grain(8, side=120)), 8) is None
    assert mesh(np.full((2, 3, 128, 128), 90, np.uint8), 8) is None
    assert mesh(levels(grain(8, side=64)), 4) is not None
