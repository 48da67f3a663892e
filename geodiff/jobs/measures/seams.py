"""Are there seams? Gradient energy across the lines where windows, tiles or charts meet.

A seam is a line across which pixels differ more than across other lines. Where it can lie follows
from the layout: windows start at multiples of the stride plus an offset, which a mode may change at
every step. So two figures are kept:

- :func:`seam_ratio` compares given lines (borders of charts, of windows that never move) with the
  others. It is the classical figure and the sharper one, where the lines are known.
- :func:`phase_peak` folds all lines at the stride: each offset, of whatever step, leaves its mark
  at one phase (and one where its windows end). The largest phase over the median one is the figure,
  for shifted and unshifted windows alike. A largest value is above 1 by chance, the more the more
  phases there are, so the same figure of lines in random order stands beside it.

Both compare lines at multiples of ``every`` pixels only, the side of a latent: a decoder may leave
a grid of its own period, which is no seam between windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Lines:
    """Mean squared difference of pixels across lines of one axis of one image.

    ``positions`` (n,) are ascending lattice positions of the pixels after the lines, ``energy``
    (n,) is in units of its own mean, so that images and axes count alike. ``axis`` is 0 for lines
    between rows, 1 for lines between columns.
    """

    positions: Positions
    energy: Floats
    axis: int

    @classmethod
    def of(cls, image: NDArray[np.uint8], axis: int, start: int = 0, every: int = 1) -> Lines:
        """Lines at multiples of ``every`` in an image (band, row, col) that begins at ``start``."""
        values = np.moveaxis(image, 1 + axis, -1).astype(np.float64)
        energy = np.square(np.diff(values, axis=-1)).mean((0, 1))
        positions = start + 1 + np.arange(len(energy), dtype=np.int64)
        chosen = positions % every == 0
        return cls(positions[chosen], energy[chosen], axis).scaled()

    def scaled(self) -> Lines:
        """The same lines, their energy divided by its mean; raises ValueError if that is 0."""
        if not len(self.energy) or not self.energy.mean() > 0:
            raise ValueError("no seam can be looked for: there is no line, or no gradient at all")
        return Lines(self.positions, self.energy / self.energy.mean(), self.axis)

    def without(self, places: Positions, reach: int) -> Lines:
        """The lines that are more than ``reach`` pixels from all ``places``, scaled anew."""
        gaps = np.abs(self.positions[:, None] - np.asarray(places, np.int64)[None])
        kept = (gaps > reach).all(1)
        return Lines(self.positions[kept], self.energy[kept], self.axis).scaled()


def lines_of(
    images: Sequence[NDArray[np.uint8]], starts: Sequence[tuple[int, int]], every: int = 1
) -> list[Lines]:
    """Lines of both axes of images (band, row, col) whose corners lie at ``starts`` (row, col)."""
    return [
        Lines.of(image, axis, start[axis], every)
        for image, start in zip(images, starts, strict=True)
        for axis in (0, 1)
    ]


def seam_ratio(parts: Sequence[Lines], rows: Positions, cols: Positions) -> float:
    """Mean energy across the border lines at ``rows`` and ``cols`` over that across the others.

    1 means that borders cannot be told from the rest. Axes count by their number of border lines.
    Raises ValueError where an axis with border lines has no others, or none lies in any image.
    """
    figures, weights = [], []
    for axis, borders in enumerate((rows, cols)):
        own = [part for part in parts if part.axis == axis]
        if not own:
            continue
        energy = np.concatenate([part.energy for part in own])
        chosen = np.isin(np.concatenate([part.positions for part in own]), borders)
        if not chosen.any():
            continue
        if chosen.all():
            raise ValueError("every line is a border: nothing is left to compare with")
        figures.append(energy[chosen].mean() / energy[~chosen].mean())
        weights.append(chosen.sum())
    if not figures:
        raise ValueError("no border line lies inside the images")
    return float(np.average(figures, weights=weights))


@dataclass(frozen=True)
class PhasePeak:
    """The most energetic phase of lines folded at a period, and what chance makes of it."""

    peak: float  # largest phase over the median phase, the larger of both axes
    chance: float  # mean of the same figure for lines in random order
    limit: float  # its 95 % quantile: a peak below cannot be told from chance
    axis: int  # of the peak: 0 between rows, 1 between columns
    phase: int  # pixels from multiples of the period to the peak
    lines: int  # lines a phase, in the mean

    @property
    def excess(self) -> float:
        """The peak over that of chance: about 1 without seams."""
        return self.peak / self.chance


def phase_peak(parts: Sequence[Lines], period: int, draws: int = 200, seed: int = 0) -> PhasePeak:
    """Fold lines at ``period`` pixels and compare the largest phase with the median one.

    The chance figures are those of a permutation test: lines change places inside each period of
    each image, so that content which differs from place to place stays where it is. ``parts`` hold
    both axes or one.
    """
    axes = sorted({part.axis for part in parts})
    folded = {axis: fold([p for p in parts if p.axis == axis], period) for axis in axes}
    figures = {axis: energy.max() / np.median(energy) for axis, (_, energy) in folded.items()}
    axis = max(axes, key=lambda key: figures[key])
    phases, energy = folded[axis]
    rng = np.random.default_rng(seed)
    random = []
    for _ in range(draws):
        mixed = [shuffled(part, period, rng) for part in parts]
        each = [fold([p for p in mixed if p.axis == key], period)[1] for key in axes]
        random.append(max(values.max() / np.median(values) for values in each))
    total = sum(len(part.positions) for part in parts if part.axis == axis)
    return PhasePeak(
        peak=float(figures[axis]),
        chance=float(np.mean(random)),
        limit=float(np.quantile(random, 0.95)),
        axis=axis,
        phase=int(phases[energy.argmax()]),
        lines=total // len(phases),
    )


def fold(parts: Sequence[Lines], period: int) -> tuple[Positions, Floats]:
    """The phases that occur, ascending, and the mean energy of the lines at each."""
    phase = np.concatenate([part.positions for part in parts]) % period
    energy = np.concatenate([part.energy for part in parts])
    phases, where = np.unique(phase, return_inverse=True)
    return phases, np.bincount(where, energy) / np.bincount(where)


def shuffled(part: Lines, period: int, rng: np.random.Generator) -> Lines:
    """The same lines with their energies in random order inside each period."""
    block = part.positions // period
    order = np.lexsort((rng.random(len(block)), block))
    return Lines(part.positions, part.energy[order], part.axis)
