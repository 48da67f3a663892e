"""An embedding grid that stays in its file: only the cells that are asked for are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geodiff.errors import DataError, UsageError
from geodiff.geo import embedding_file
from geodiff.geo.cell_places import cells_under
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.geo.holes import Cells, nearest
from geodiff.window import Window

_ROWS = 64  # of cells that are read at once
_BLOCK = 64  # side, in cells, of the pieces in which the validity is searched


@dataclass(frozen=True)
class SavedEmbeddings:
    """The embedding grid in a GeoTIFF at ``path``; the other fields are those of EmbeddingGrid.

    In memory is a byte a cell (which ones are valid), whatever the number of features. Make one
    with ``SavedEmbeddings.open``.
    """

    path: str
    features: int
    grid: PixelGrid
    cell: int
    gsd: float
    encoder: str
    source: str
    pixels: Window | None

    @classmethod
    def open(cls, path: str | Path) -> SavedEmbeddings:
        """Look into the file. Raises DataError if it is missing, damaged or no embedding grid."""
        return cls(str(path), *embedding_file.head(path))

    @cached_property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which cells are valid, bool (row, col); looks at every vector once, some rows at a time.

        Raises DataError for vectors that are no unit vectors, and where the file is damaged.
        """
        whole = self.grid.window
        strips = (
            Window(row, whole.col, min(_ROWS, whole.bottom - row), whole.width)
            for row in range(whole.row, whole.bottom, _ROWS)
        )
        return np.concatenate([self.part(strip).valid for strip in strips])

    def part(self, window: Window) -> EmbeddingGrid:
        """The cells of ``window``, on the grid's lattice, as they are; DataError as ``valid``."""
        values, valid, *_ = embedding_file.read(self.path, window)
        facts = self.cell, self.gsd, self.encoder, self.source, None
        try:
            return EmbeddingGrid(values, valid, self.grid.crop(window), *facts, self.grid)
        except UsageError as error:
            raise DataError(f"{self.path} holds no usable embedding grid: {error}") from error

    def under(self, grid: PixelGrid, part: Window) -> EmbeddingGrid:
        """The cells that ``part``, pixels of ``grid``'s lattice, is interpolated from.

        Without holes: an invalid cell takes the vector of the nearest valid one of the whole grid,
        as ``EmbeddingGrid.filled`` does. Raises UsageError and DataError as
        ``EmbeddingGrid.field_on``, DataError where no cell is valid.
        """
        window = cells_under(self.grid, self.cell, grid, part)
        own = self.part(window)
        if own.valid.all():
            return own
        whole = self.grid.window
        found = nearest(
            window, own.valid, lambda piece: self.valid[piece.within(whole)], _BLOCK, whole
        )
        if found is None:
            raise DataError(f"{self.path} has no valid cell near the mosaic: embed it again")
        holes, sources = found
        values = np.array(own.values)
        for row, cols, chosen in _by_row(sources):
            first = int(cols.min())
            line = self.part(Window(row, first, 1, int(np.ptp(cols)) + 1)).values[0]
            values[tuple((holes[chosen] - (window.row, window.col)).T)] = line[cols - first]
        return replace(own, values=values, valid=np.ones_like(own.valid))


def _by_row(cells: Cells) -> Iterator[tuple[int, Cells, Cells]]:
    """Every row that occurs, the columns in it, and their places in ``cells``."""
    for row in np.unique(cells[:, 0]):
        chosen = np.flatnonzero(cells[:, 0] == row)
        yield int(row), cells[chosen, 1], chosen
