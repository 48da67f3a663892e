"""Figures of quality against independent implementations and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from geodiff.jobs import metrics


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_frechet_agrees_with_scipys_matrix_root():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((300, 8)) @ rng.standard_normal((8, 8))
    other = rng.standard_normal((400, 8)) @ rng.standard_normal((8, 8)) + 0.3
    a, b = np.cov(one.T), np.cov(other.T)
    gap = one.mean(0) - other.mean(0)
    expected = gap @ gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert metrics.frechet(one, other) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_a_set_with_itself_is_zero_and_of_a_shift_its_square():
    values = np.random.default_rng(1).standard_normal((200, 4))
    assert metrics.frechet(values, values) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet(values, values + np.array([3, 0, 0, 4])) == pytest.approx(25)


def test_frechet_refuses_too_few_samples():
    with pytest.raises(ValueError, match="more samples than features"):
        metrics.frechet(np.zeros((4, 4)), np.zeros((9, 4)))


def test_similarities_agree_with_a_loop():
    rng = np.random.default_rng(2)
    asked, made = unit(rng, 20, 6), unit(rng, 20, 6)
    table = asked @ made.T
    off = table[~np.eye(20, dtype=bool)]
    assert metrics.similarity(asked, made) == pytest.approx(np.diag(table).mean())
    assert metrics.shuffled_similarity(asked, made) == pytest.approx(off.mean())


def test_nearest_does_not_depend_on_its_blocks():
    rng = np.random.default_rng(3)
    one, other = unit(rng, 31, 5), unit(rng, 40, 5)
    assert metrics.nearest(one, other, block=7) == metrics.nearest(one, other)
    assert metrics.nearest(one, one) == pytest.approx(1)


def test_psnr_of_a_known_error():
    real = np.full((2, 3, 8, 8), 100, np.uint8)
    assert metrics.psnr(real, real + np.uint8(10)) == pytest.approx(20 * np.log10(25.5))


def test_sharpness_of_stripes():
    stripes = np.zeros((1, 1, 8, 8), np.uint8)
    stripes[..., ::2] = 10
    assert metrics.sharpness(stripes) == pytest.approx(5)


def test_seam_is_one_for_noise_and_large_for_a_step():
    noise = np.random.default_rng(4).integers(0, 256, (3, 400, 400)).astype(np.uint8)
    lines = np.arange(50, 400, 50)
    assert metrics.seam(noise, lines) == pytest.approx(1, abs=0.05)
    flat = np.random.default_rng(5).integers(100, 104, (3, 64, 64)).astype(np.uint8)
    flat[..., 32:] += 50
    assert metrics.seam(flat, np.array([32])) > 100
