"""Figures of quality as pure functions of arrays; those of seams are in seams.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frechet(one: Floats, other: Floats) -> float:
    """Fréchet distance of Gaussians fitted to two sets of features (n, feature).

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``, Heusel et al. 2017 (arXiv:1706.08500), equation
    6. With Inception features it is called FID; with others it must not be. Few samples make it too
    large, so only figures of equal sample counts compare. Raises ValueError unless both sets have
    more rows than features.
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


def frechet_few(one: Floats, other: Floats) -> float:
    """:func:`frechet` of sets that may have fewer rows than features, at least two each.

    ``tr((S1 S2)^(1/2))`` is the sum of the singular values of ``A B'``, where A and B are centred
    sets over the roots of their degrees of freedom: ``S1 = A' A`` and ``S2 = B' B`` then, and the
    eigenvalues of ``S1 S2`` are the squares of those values. Covariances of so few rows are rough,
    and the figure is too large by far: compare it with that of real sets of the same sizes only.
    """
    if min(len(one), len(other)) < 2 or one.shape[1:] != other.shape[1:]:
        raise ValueError(f"two rows of equal features are needed, got {one.shape}, {other.shape}")
    gap = one.mean(0) - other.mean(0)
    a, b = ((part - part.mean(0)) / np.sqrt(len(part) - 1) for part in (one, other))
    if min(len(one), len(other)) > one.shape[1]:
        return frechet(one, other)
    common = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(gap @ gap + np.square(a).sum() + np.square(b).sum() - 2 * common)


def kernel_distance(
    one: Floats, other: Floats, subsets: int = 50, size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Kernel distance of two sets of features (n, feature): mean and spread over random subsets.

    Each subset gives the unbiased squared maximum mean discrepancy (Gretton et al. 2012, equation
    3) under the kernel ``(x y / feature + 1)^3``, which Bińkowski et al. 2018 (arXiv:1801.01401)
    call KID with Inception features. It may be negative, and 0 is its mean for equal
    distributions whatever the sample count. Features should have about unit variance: scale unit
    vectors by the root of their length. ``size`` rows make a subset; None takes half of the smaller
    set, at most 1,000. The spread is the standard deviation over subsets. Raises ValueError unless
    both sets have ``size`` rows, at least two, and equal features.
    """
    least = min(len(one), len(other))
    size = min(1000, least // 2) if size is None else size
    if not 2 <= size <= least or one.shape[1:] != other.shape[1:]:
        raise ValueError(
            f"subsets of {size} rows (at least 2) cannot be drawn from {one.shape} and "
            f"{other.shape}, or the features differ"
        )
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(subsets):
        x = one[rng.choice(len(one), size, replace=False)]
        y = other[rng.choice(len(other), size, replace=False)]
        same = sum(
            (k.sum() - np.trace(k)) / (size * (size - 1)) for k in (cubic(x, x), cubic(y, y))
        )
        figures.append(same - 2 * cubic(x, y).mean())
    return float(np.mean(figures)), float(np.std(figures))


def cubic(x: Floats, y: Floats) -> Floats:
    """Kernel matrix ``(x y / feature + 1)^3`` (n, m) of rows (n, feature) and (m, feature)."""
    products: Floats = (x @ y.T / x.shape[1] + 1) ** 3
    return products


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


def power(images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Power spectrum of images (n, band, row, col), averaged over images and bands.

    Returns radial frequencies in cycles per pixel and powers, each (row, col) in the order of
    ``np.fft.fft2``. Each band loses its mean and is tapered by a Hann window (Welch 1967), scaled
    so that white noise of variance v has the power v at every frequency.
    """
    height, width = images.shape[-2:]
    taper = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    taper /= np.sqrt(np.square(taper).sum())
    total = np.zeros((height, width))
    for image in images:  # one by one: a spectrum of all at once would need 32 times their memory
        values = image - image.mean((-2, -1), keepdims=True, dtype=np.float64)
        total += np.square(np.abs(np.fft.fft2(values * taper))).mean(0)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    return radius, total / len(images)


def radial_spectrum(images: NDArray[np.uint8], bands: int = 16) -> tuple[Floats, Floats]:
    """Mean logarithm (base 10) of power in rings of equal width on 0 to 0.5 cycles per pixel.

    Images are (n, band, row, col), see :func:`power`; frequency 0 and the corners beyond 0.5 are
    left out. Returns the rings' centres and their figures, each (bands,), NaN for an empty ring.
    """
    radius, powers = power(images)
    edges = np.linspace(0, 0.5, bands + 1)
    ring = np.clip(np.digitize(radius, edges[1:-1], right=True), 0, bands - 1)
    used = (radius > 0) & (radius <= 0.5)
    count = np.bincount(ring[used], minlength=bands)
    logs = np.log10(np.maximum(powers[used], 1e-12))
    with np.errstate(invalid="ignore"):
        means = np.bincount(ring[used], logs, minlength=bands) / count
    return (edges[:-1] + edges[1:]) / 2, means


def detail(made: NDArray[np.uint8], real: NDArray[np.uint8], above: float = 0.125) -> float:
    """Power of ``made`` over that of ``real`` above a frequency, in cycles per pixel, up to 0.5.

    Below 1 is blur, above 1 noise or ringing. Both are (n, band, row, col) of one image size. The
    default takes waves shorter than 8 pixels, a latent of the shipped model; a codec sets the
    ceiling, so give its own figure beside this one.
    """
    sums = []
    for images in (made, real):
        radius, powers = power(images)
        sums.append(powers[(radius > above) & (radius <= 0.5)].sum())
    return float(sums[0] / sums[1])
