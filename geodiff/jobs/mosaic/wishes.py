"""Labelled polygons -> which wish holds at which cell of a mosaic, and what that comes to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geodiff.diffusion.noise import plane
from geodiff.geo.cover import Cover, Floats, Numbers
from geodiff.window import Window

COUNTED = 250_000
"""Cells of a mosaic that are counted one by one (32,000 px a side); of more only a sample is."""

BLOCK = 64
"""Cells a side that are looked at in one go: few polygons lie in a small block."""


@dataclass(frozen=True, eq=False)
class Wishes:
    """The number of the text that holds at each cell: a pure function of the cell's place.

    ``soft``: ground metres within which cells on both sides of a border of two texts are mixed. The
    points at which a cell looks at the polygons then all move by one random vector shorter than
    that, drawn by ``seed`` and the cell's place, of no preferred direction: a cell on a straight
    border goes to either side with the same chance. Cells without text stay so and others never
    become so: a plan holds up to its rim, and gaps are filled to fit.
    """

    cover: Cover
    soft: float | None = None
    seed: int = 0

    def __call__(self, cells: Window) -> Numbers:
        """Numbers of texts for a window of the lattice of cells, -1 for none: (row, col)."""
        rows = np.arange(cells.row, cells.bottom)
        cols = np.arange(cells.col, cells.right)
        drawn = self.cover.winners(self.cover.samples(rows, cols))
        if self.soft is None:
            return drawn
        moved = self.cover.winners(self.cover.samples(rows, cols, self.shift(cells, self.soft)))
        return np.where((drawn < 0) | (moved < 0), drawn, moved)

    def shift(self, cells: Window, soft: float) -> Floats:
        """How far the points of each cell move, pixels down and across: (2, row, col)."""
        normal = plane(self.seed, cells, 2, "soft border").astype(np.float64)
        move = normal / np.sqrt(1 + (normal**2).sum(axis=0))  # shorter than 1, any direction
        rows, cols = np.mgrid[cells.row : cells.bottom, cells.col : cells.right] + 0.5
        metres = self.cover.pixel_metres(rows * self.cover.cell, cols * self.cover.cell)
        moved: Floats = np.nan_to_num(move * soft / np.stack(metres), posinf=0, neginf=0)
        return moved


@dataclass(frozen=True)
class Found:
    """What a source comes to: JSON-ready facts for a plan, and notes for its user."""

    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def tally(wishes: Wishes) -> Found:
    """How much of a mosaic goes by which words, before borders are softened.

    Beyond COUNTED cells the shares are those of a regular sample, and polygons that are too small
    to be seen are not looked for.
    """
    cover = wishes.cover
    polygons = cover.polygons
    cells = cover.grid.latents(cover.cell)
    step = max(1, math.ceil(math.sqrt(cells.height * cells.width / COUNTED)))
    counts: Counter[int] = Counter()
    seen = np.zeros(len(polygons.texts), bool)
    for samples in blocks(cover, cells, step):
        best = cover.winners(samples)
        counts.update(best.ravel().tolist())
        decided = (samples >= 0) & (cover.texts[samples] == best[:, :, None])
        seen[np.unique(samples[decided])] = True
    total = sum(counts.values())
    shares = {
        text: round(counts[number] / total, 4)
        for number, text in enumerate(polygons.distinct)
        if counts[number]
    }
    facts = {
        "polygons": len(polygons.texts),
        "texts": len(polygons.distinct),
        "words": dict(sorted(shares.items(), key=lambda item: -item[1])),
        "no words": round(counts[-1] / total, 4),
    }
    notes = (*polygons.notes, *(unseen(cover, seen) if step == 1 else ()))
    return Found(facts, notes)


def blocks(cover: Cover, cells: Window, step: int) -> Iterator[Numbers]:
    """Samples of every ``step``-th cell down and across, block by block."""
    rows = np.arange(cells.row, cells.bottom, step)
    cols = np.arange(cells.col, cells.right, step)
    for top in range(0, len(rows), BLOCK):
        for left in range(0, len(cols), BLOCK):
            yield cover.samples(rows[top : top + BLOCK], cols[left : left + BLOCK])


def unseen(cover: Cover, seen: np.ndarray[Any, np.dtype[np.bool_]]) -> Iterator[str]:
    """A note on polygons in the mosaic that decide none of its cells."""
    outline = cover.outline()
    if outline is None:
        return
    inside = np.sort(cover.tree.query(outline, predicate="intersects"))
    lost = [cover.polygons.texts[number] for number in inside if not seen[number]]
    if lost:
        some = ", ".join(f'"{text[:40]}"' for text in dict.fromkeys(lost[:3]))
        yield (
            f"{len(lost)} of {len(inside)} polygons of {cover.polygons.name} decide no cell of "
            f"{cover.cell} px: too small to be seen, or hidden under others ({some}"
            f"{', ..' if len(lost) > 3 else ''})"
        )
