"""A mesh in pictures: power in waves that repeat with every latent beside that of their neighbours.

A decoder that paints the same pattern into each latent leaves one. It is faint, so distances of
features hardly see it, and plain to the eye in flat ground.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LATENTS = 16
"""Latents a side of the squares whose spectra are looked at."""

Spectra = NDArray[np.float64]


def mesh(images: NDArray[np.uint8], factor: int) -> float | None:
    """How much stronger waves of ``factor`` pixels and their overtones are than those around them.

    Images are uint8 (n, band, row, col) whose top-left pixel begins a latent, ``factor`` pixels per
    latent. Waves along rows or columns alone are left out: streets, fields and resampling have such
    too. 1 is what images without a mesh have: the geometric mean over all waves (row, col), both
    overtones of the latent, of their power over the mean power of waves up to 4 steps of frequency
    away. Every square counts the same, however busy it is. None: an image has no square of
    ``LATENTS`` latents, or nothing to see.
    """
    side = LATENTS * factor
    spectra = [
        spectrum(band[row : row + side, col : col + side])
        for image in images
        for band in [image.mean(0, dtype=np.float64)]
        for row in range(0, band.shape[0] - side + 1, side)
        for col in range(0, band.shape[1] - side + 1, side)
    ]
    spectra = [power / power.sum() for power in spectra if power.sum() > 0]
    if not spectra:
        return None
    total = np.sum(spectra, axis=0)
    overtones = [LATENTS * order for order in range(1, factor // 2 + 1)]
    logs = [
        np.log(contrast(total, row, sign * col))
        for row in overtones
        for col in overtones
        for sign in (1, -1)
    ]
    return float(np.exp(np.mean(logs)))


def spectrum(values: Spectra) -> Spectra:
    """Power (row, col) in the order of ``np.fft.fft2`` of a square without mean and rim."""
    taper = np.hanning(len(values) + 1)[:-1]
    power = np.abs(np.fft.fft2((values - values.mean()) * np.outer(taper, taper))) ** 2
    power[0, 0] = 0.0
    return np.asarray(power)


def contrast(power: Spectra, row: int, col: int) -> float:
    """Mean power of the nine waves around (row, col) over that of those 3 or 4 steps away."""
    side, steps = len(power), np.arange(-4, 5)
    around = power[np.ix_((row + steps) % side, (col + steps) % side)]
    near = np.maximum(np.abs(steps)[:, None], np.abs(steps)[None])
    floor = np.finfo(np.float64).tiny
    return float((around[near <= 1].mean() + floor) / (around[near >= 3].mean() + floor))
