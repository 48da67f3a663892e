"""Integer rectangles on a lattice, and how windows cover one. Knows no CRS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Window:
    """Rectangle of whole cells: ``height`` rows from ``row``, ``width`` columns from ``col``.

    Rows grow downwards (south on a north-up raster), columns to the right. ``row`` and ``col`` may
    be negative: they are positions on an unbounded lattice. Raises ValueError if empty.
    """

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a window needs at least one cell, got {self.height} x {self.width}")

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def right(self) -> int:
        """First column to the right of the window."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def pad(self, cells: int) -> Window:
        """The window grown by ``cells`` on every side."""
        return Window(
            self.row - cells, self.col - cells, self.height + 2 * cells, self.width + 2 * cells
        )

    def snap(self, multiple: int) -> Window:
        """The smallest window on whole multiples of ``multiple`` that contains this one."""
        top, left = self.row // multiple * multiple, self.col // multiple * multiple
        bottom, right = (
            -(-self.bottom // multiple) * multiple,
            -(-self.right // multiple) * multiple,
        )
        return Window(top, left, bottom - top, right - left)

    def zoom_out(self, factor: int) -> Window:
        """The rectangle on a lattice ``factor`` times coarser, grown outwards to whole cells."""
        grown = self.snap(factor)
        return Window(
            grown.row // factor, grown.col // factor, grown.height // factor, grown.width // factor
        )

    def zoom_in(self, factor: int) -> Window:
        """The same rectangle on a lattice ``factor`` times finer."""
        return Window(
            self.row * factor, self.col * factor, self.height * factor, self.width * factor
        )

    def intersect(self, other: Window) -> Window | None:
        """The common part, or None where the two do not overlap."""
        top, left = max(self.row, other.row), max(self.col, other.col)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        if bottom <= top or right <= left:
            return None
        return Window(top, left, bottom - top, right - left)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Row and column slices of this window in an array that covers ``outer``.

        Raises ValueError unless ``outer`` contains this window.
        """
        if self.intersect(outer) != self:
            raise ValueError(f"{self} is not inside {outer}")
        return (
            slice(self.row - outer.row, self.bottom - outer.row),
            slice(self.col - outer.col, self.right - outer.col),
        )

    def tiles(self, size: int) -> Iterator[Window]:
        """Disjoint pieces of at most ``size`` x ``size``, row by row, aligned to the lattice.

        Piece borders lie on multiples of ``size`` of the lattice, not of this window.
        """
        for row in range(self.row // size * size, self.bottom, size):
            for col in range(self.col // size * size, self.right, size):
                piece = self.intersect(Window(row, col, size, size))
                if piece is not None:
                    yield piece
