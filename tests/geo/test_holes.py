"""Holes take the nearest valid cell of the whole lattice, whatever window they are seen through."""

from __future__ import annotations

import numpy as np
import pytest

from geodiff.geo import holes
from geodiff.geo.holes import Mask, fill, nearest
from geodiff.window import Window

ROW, COL = -70, 1030  # of the lattice's first cell


def world(share: float, seed: int = 0) -> Mask:
    """90 x 110 cells, the first of which is at (ROW, COL); beyond them none is valid."""
    return np.random.default_rng(seed).random((90, 110)) < share


def seen(cells: Mask, window: Window) -> Mask:
    """The validity in a window of the lattice."""
    out = np.zeros(window.shape, np.bool_)
    whole = Window(ROW, COL, *cells.shape)
    if (part := window.intersect(whole)) is not None:
        out[part.within(window)] = cells[part.within(whole)]
    return out


def truth(cells: Mask, hole: tuple[int, int]) -> tuple[int, int]:
    """The nearest valid cell by looking at all of them; of several, the first by rows."""
    known = np.argwhere(cells) + np.array([ROW, COL])
    row, col = known[((known - hole) ** 2).sum(axis=1).argmin()]
    return int(row), int(col)


@pytest.mark.parametrize("share", [0.7, 0.05, 0.002])
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize(
    "window",
    [
        Window(ROW + 20, COL + 30, 13, 17),  # inside
        Window(ROW - 8, COL + 100, 20, 25),  # half outside
        Window(ROW - 90, COL - 75, 9, 6),  # far away, at a corner
        Window(ROW + 130, COL + 40, 5, 5),  # far away, below
    ],
)
@pytest.mark.parametrize("block", [4, 8])
def test_the_nearest_cell_is_found_through_any_window(
    window: Window, block: int, bounded: bool, share: float
) -> None:
    cells = world(share)
    extent = Window(ROW, COL, *cells.shape) if bounded else None
    found = nearest(window, seen(cells, window), lambda w: seen(cells, w), block, extent)
    assert found is not None
    assert len(found[0]) == (~seen(cells, window)).sum()
    for hole, source in zip(*found, strict=True):
        assert tuple(source) == truth(cells, tuple(hole))


def test_filling_a_whole_array_is_the_same() -> None:
    cells = world(0.03)
    rows, cols = np.mgrid[ROW : ROW + 90, COL : COL + 110].astype(np.float32)
    filled = fill(np.stack([rows, cols], axis=-1), cells)
    for row, col in ((0, 0), (40, 77), (89, 109), (13, 5)):
        assert tuple(filled[row, col]) == truth(cells, (ROW + row, COL + col))


def test_no_more_is_looked_at_than_may_be_nearer() -> None:
    looked: list[Window] = []

    def look(window: Window) -> Mask:
        looked.append(window)
        return np.ones(window.shape, np.bool_)

    valid = np.ones((16, 16), np.bool_)
    valid[8, 8] = False  # its neighbours are known
    assert nearest(Window(0, 0, 16, 16), valid, look, 8) is not None
    assert looked == []
    valid[:, :9] = False  # the middle of the left edge sees 9 cells to the right
    assert nearest(Window(0, 0, 16, 16), valid, look, 8, Window(-800, -800, 1600, 1600)) is not None
    assert len(looked) == len(set(looked)) <= 12  # of 40,000 blocks: those of the first ring


def test_where_nothing_is_valid_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "RINGS", 9)
    count = 0

    def look(window: Window) -> Mask:
        nonlocal count
        count += 1
        return np.zeros(window.shape, np.bool_)

    empty = np.zeros((2, 2), np.bool_)
    assert nearest(Window(0, 0, 2, 2), empty, look, 8, Window(-64, 640, 128, 64)) is None
    assert count == 16 * 8  # the extent's blocks, each of them once, though they lie far away
    count = 0
    assert nearest(Window(0, 0, 2, 2), empty, look, 8, None) is None
    assert count == (2 * 9 + 1) ** 2
