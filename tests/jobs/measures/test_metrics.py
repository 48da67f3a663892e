"""Figures of quality against independent implementations and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import fft
from scipy.linalg import sqrtm

from geodiff.jobs.measures import metrics


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


def test_frechet_of_few_rows_agrees_with_scipys_matrix_root_and_with_that_of_many():
    rng = np.random.default_rng(4)
    one, other = rng.standard_normal((12, 20)), rng.standard_normal((9, 20)) + 0.2
    # scipy wants a regular product: a little on the diagonals changes the figure a little.
    a, b = np.cov(one.T) + 1e-7 * np.eye(20), np.cov(other.T) + 1e-7 * np.eye(20)
    gap = one.mean(0) - other.mean(0)
    expected = gap @ gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert metrics.frechet_few(one, other) == pytest.approx(expected, rel=1e-3)
    assert metrics.frechet_few(one, one) == pytest.approx(0, abs=1e-9)
    many, more = rng.standard_normal((50, 4)), rng.standard_normal((60, 4)) * 2
    assert metrics.frechet_few(many, more) == metrics.frechet(many, more)
    with pytest.raises(ValueError, match="two rows"):
        metrics.frechet_few(one[:1], other)


def test_kernel_distance_of_whole_sets_agrees_with_loops_over_all_pairs():
    rng = np.random.default_rng(6)
    one, other = rng.standard_normal((12, 5)), rng.standard_normal((12, 5)) * 1.5

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(x * y for x, y in zip(a, b, strict=True)) / 5 + 1) ** 3

    within = sum(
        kernel(s[i], s[j]) for s in (one, other) for i in range(12) for j in range(12) if i != j
    )
    across = sum(kernel(x, y) for x in one for y in other)
    expected = within / (12 * 11) - 2 * across / 144
    mean, spread = metrics.kernel_distance(one, other, subsets=3, size=12)
    assert mean == pytest.approx(expected, rel=1e-9)
    assert spread == pytest.approx(0, abs=1e-9)  # a subset of all is always the same


def test_kernel_distance_is_unbiased_and_grows_with_the_gap():
    rng = np.random.default_rng(7)
    figures = []
    for _ in range(40):
        one, other = rng.standard_normal((2, 40, 4))
        figures.append(metrics.kernel_distance(one, other, subsets=1, size=40)[0])
    assert abs(np.mean(figures)) < 3 * np.std(figures) / np.sqrt(40)
    one, other = rng.standard_normal((2, 400, 4))
    near = metrics.kernel_distance(one, other + 0.5)
    far = metrics.kernel_distance(one, other + 1)
    assert 0 < near[0] < far[0]
    assert far[1] > 0
    assert near == metrics.kernel_distance(one, other + 0.5)


def test_kernel_distance_refuses_what_does_not_compare():
    with pytest.raises(ValueError, match="cannot be drawn"):
        metrics.kernel_distance(np.zeros((1, 4)), np.zeros((9, 4)))
    with pytest.raises(ValueError, match="features differ"):
        metrics.kernel_distance(np.zeros((9, 4)), np.zeros((9, 5)))


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


def noise(seed: int, deviation: float, shape: tuple[int, ...] = (6, 3, 64, 64)) -> np.ndarray:
    values = np.random.default_rng(seed).normal(128, deviation, shape)
    return values.round().clip(0, 255).astype(np.uint8)


def test_power_of_white_noise_is_its_variance_at_every_frequency():
    radius, powers = metrics.power(noise(8, 20))
    assert powers[(radius > 0.05)].mean() == pytest.approx(400, rel=0.03)
    _, spectrum = metrics.radial_spectrum(noise(8, 20), bands=5)
    # The mean logarithm of an average of 18 exponential variables lies a little below log10(400).
    np.testing.assert_allclose(spectrum[1:], np.log10(400), atol=0.05)


def test_power_of_a_wave_stands_at_its_frequency_and_agrees_with_scipys_periodogram():
    col = np.arange(64)
    wave = np.tile(128 + 60 * np.cos(2 * np.pi * col * 20 / 64), (1, 1, 64, 1))
    wave = wave.round().astype(np.uint8)
    radius, powers = metrics.power(wave)
    assert radius.flat[powers.argmax()] == pytest.approx(20 / 64)
    images = noise(9, 30, (1, 1, 32, 32))
    expected = by_scipy(np.hanning(34)[1:-1], images)
    _, powers = metrics.power(images)
    np.testing.assert_allclose(powers, expected, rtol=1e-9, atol=1e-9)


def by_scipy(taper: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The power of one band, axis by axis."""
    values = images[0, 0] - images.mean()
    spectrum = fft(fft(values * taper[:, None] * taper, axis=0), axis=1)
    return np.abs(spectrum) ** 2 / (taper**2).sum() ** 2


def test_detail_is_the_squared_ratio_of_amplitudes_and_falls_with_blur():
    assert metrics.detail(noise(10, 10), noise(11, 20)) == pytest.approx(0.25, rel=0.03)
    sharp = noise(12, 20)
    assert metrics.detail(sharp, sharp) == 1
    blurred = ((sharp.astype(float) + np.roll(sharp, 1, -1)) / 2).astype(np.uint8)
    assert metrics.detail(blurred, sharp) < 0.7
