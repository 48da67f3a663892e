"""Where the holes of a lattice of cells are filled from: the nearest valid cell, wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from shapely import STRtree, points

from geodiff.window import Window

Mask = npt.NDArray[np.bool_]
Cells = npt.NDArray[np.intp]
"""Positions (n, 2) of cells: row and column."""

RINGS = 256
"""Rings of blocks in which a search may find nothing, counted from the first that could."""


def fill(values: npt.NDArray[np.float32], valid: Mask) -> npt.NDArray[np.float32]:
    """A copy of ``values`` (row, col, feature) whose cells that are not ``valid`` (row, col) take
    the vector of the nearest valid one; of several, the first by rows. One must be valid.
    """
    holes = Holes(np.argwhere(~valid))
    holes.offer(np.argwhere(rim(valid)))
    filled = values.copy()
    filled[tuple(holes.cells.T)] = filled[tuple(holes.sources.T)]
    return filled


def rim(valid: Mask) -> Mask:
    """Valid cells beside one that is not, or at the edge: no other is a hole's nearest.

    From any other cell one step towards the hole leads to a valid cell that is nearer.
    """
    wide = np.pad(valid, 1)
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return valid & ~inner


class Holes:
    """Cells without data, and the nearest of the valid cells that were offered so far."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.sources = np.zeros_like(cells)
        self.squares = np.full(len(cells), np.inf)
        """Squares of the distances, infinite before the first offer."""

    def offer(self, known: Cells, near: float = 0.0) -> None:
        """Take the nearest of ``known``, by rows, for holes that have none nearer than ``near``.

        Of several at one distance the first by rows counts, also of those offered before.
        """
        open_ = np.flatnonzero(self.squares >= near**2)
        if not (len(known) and len(open_)):
            return
        hole, found = STRtree(points(known)).query_nearest(
            points(self.cells[open_]), all_matches=True
        )
        order = np.lexsort((found, hole))
        hole, first = np.unique(hole[order], return_index=True)
        index, source = open_[hole], known[found[order][first]]
        square = ((self.cells[index] - source) ** 2).sum(axis=1)
        old = self.sources[index]
        earlier = (source[:, 0] < old[:, 0]) | (
            (source[:, 0] == old[:, 0]) & (source[:, 1] < old[:, 1])
        )
        better = (square < self.squares[index]) | ((square == self.squares[index]) & earlier)
        self.sources[index[better]] = source[better]
        self.squares[index[better]] = square[better]


def nearest(
    around: Window,
    valid: Mask,
    look: Callable[[Window], Mask],
    block: int,
    extent: Window | None = None,
) -> tuple[Cells, Cells] | None:
    """The holes of a window of cells, and the nearest valid cell of the whole lattice for each.

    ``valid`` are the cells of ``around``; ``look`` tells those of any other window, and is asked
    for blocks of the lattice (``block`` cells a side, less what is outside ``extent``, where no
    cell is valid): nearest first, and only as far as something nearer may come. Of several cells
    at one distance the first by rows is taken, so that the answer depends on the hole's place
    alone, not on ``around``. None where no cell is valid, within RINGS rings of blocks.
    """
    corner = np.array([around.row, around.col])
    holes = Holes(np.argwhere(~valid) + corner)
    holes.offer(np.argwhere(rim(valid)) + corner)
    centre = around.zoom_out(block)
    inside = None if extent is None else extent.zoom_out(block)
    first, last = reach(centre, inside)
    for ring in range(first, min(last, first + RINGS) + 1):
        near = max(0, (ring - 1) * block + 1)  # nothing in this ring or beyond is nearer
        open_ = holes.squares >= near**2
        if not open_.any():
            break
        farthest, spread = holes.squares[open_].max(), span_of(holes.cells[open_])
        known = [np.empty((0, 2), np.intp)]
        for place in ring_of(centre, ring, inside):
            cells = place.zoom_in(block)
            part = cells if extent is None else cells.intersect(extent)
            if part is None or part.intersect(around) == part:
                continue
            if square_between(part, spread) <= farthest:
                known.append(np.argwhere(rim(look(part))) + np.array([part.row, part.col]))
        found = np.concatenate(known)
        holes.offer(found[np.lexsort((found[:, 1], found[:, 0]))], near)
    return (holes.cells, holes.sources) if np.isfinite(holes.squares).all() else None


def reach(centre: Window, inside: Window | None) -> tuple[int, int]:
    """The first and the last ring around ``centre`` that meet ``inside``; None is everywhere."""
    if inside is None:
        return 0, RINGS
    before = centre.row - inside.row, centre.col - inside.col
    behind = inside.bottom - centre.bottom, inside.right - centre.right
    apart = (
        *(inside.row - centre.bottom + 1, inside.col - centre.right + 1),
        *(centre.row - inside.bottom + 1, centre.col - inside.right + 1),
    )
    return max(0, *apart), max(0, *before, *behind)


def ring_of(centre: Window, ring: int, inside: Window | None) -> Iterator[Window]:
    """The single cells of a ring around ``centre``, as far as they are ``inside``; 0 is itself."""
    outer = centre.pad(ring)
    sides = [outer]
    if ring:
        sides = [
            Window(outer.row, outer.col, 1, outer.width),
            Window(outer.bottom - 1, outer.col, 1, outer.width),
            Window(outer.row + 1, outer.col, outer.height - 2, 1),
            Window(outer.row + 1, outer.right - 1, outer.height - 2, 1),
        ]
    for side in sides:
        part = side if inside is None else side.intersect(inside)
        if part is not None:
            yield from part.tiles(1)


def span_of(cells: Cells) -> Window:
    """The smallest window that holds all of some cells."""
    low, high = cells.min(axis=0), cells.max(axis=0)
    height, width = high - low + 1
    return Window(int(low[0]), int(low[1]), int(height), int(width))


def square_between(one: Window, other: Window) -> int:
    """Square of the distance between the nearest cells of two windows."""
    down = max(one.row - other.bottom + 1, other.row - one.bottom + 1, 0)
    across = max(one.col - other.right + 1, other.col - one.right + 1, 0)
    return down**2 + across**2
