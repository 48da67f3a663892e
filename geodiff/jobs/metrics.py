"""Figures of quality as pure functions of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frechet(one: Floats, other: Floats) -> float:
    """Fréchet distance of Gaussians fitted to two sets of features (n, feature).

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``, Heusel et al. 2017 (arXiv:1706.08500), equation
    6. With Inception features it is called FID; with others it must not be. Raises ValueError
    unless both sets have more rows than features.
    """
    for features in (one, other):
        if features.ndim != 2 or len(features) <= features.shape[1]:
            raise ValueError(
                f"a Fréchet distance needs more samples than features, got {features.shape}"
            )
    gap = one.mean(0) - other.mean(0)
    first, second = np.cov(one.T), np.cov(other.T)
    # The product of two covariances has real eigenvalues of at least 0, up to rounding.
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * roots.sum())


def similarity(asked: Floats, made: Floats) -> float:
    """Mean cosine between unit vectors (n, feature), row by row."""
    return float((asked * made).sum(1).mean())


def shuffled_similarity(asked: Floats, made: Floats) -> float:
    """The control of :func:`similarity`: the mean cosine between all different rows."""
    n = len(asked)
    total = asked.sum(0) @ made.sum(0) - (asked * made).sum()
    return float(total / (n * (n - 1)))


def nearest(one: Floats, other: Floats, block: int = 1024) -> float:
    """Median over rows of ``one`` of the largest cosine to a row of ``other`` (unit vectors)."""
    best = [(one[start : start + block] @ other.T).max(1) for start in range(0, len(one), block)]
    return float(np.median(np.concatenate(best)))


def psnr(real: NDArray[np.uint8], made: NDArray[np.uint8]) -> float:
    """Mean peak signal to noise ratio in dB of images (n, ...), image by image."""
    error = np.square(real.astype(np.float64) - made).reshape(len(real), -1).mean(1)
    return float((10 * np.log10(255**2 / np.maximum(error, 1e-12))).mean())


def sharpness(images: NDArray[np.uint8]) -> float:
    """Mean absolute difference of neighbouring pixels of (n, band, row, col), in grey levels."""
    values = images.astype(np.float64)
    down, right = np.abs(np.diff(values, axis=-2)), np.abs(np.diff(values, axis=-1))
    return float((down.mean() + right.mean()) / 2)


def seam(image: NDArray[np.uint8], lines: NDArray[np.intp]) -> float:
    """Squared column differences at ``lines`` (left of those columns) over those elsewhere.

    ``image`` is (band, row, col). 1 means that the lines cannot be told from the rest.
    """
    energy = np.square(np.diff(image.astype(np.float64), axis=-1)).mean((0, 1))
    chosen = np.zeros(len(energy), bool)
    chosen[lines - 1] = True
    return float(energy[chosen].mean() / energy[~chosen].mean())
