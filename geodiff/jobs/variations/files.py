"""Files of synthetic images and their table: each is put into place whole, or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geodiff.errors import OutputError
from geodiff.geo import cog
from geodiff.geo.grid import PixelGrid
from geodiff.geo.mosaic import WorkingRaster
from geodiff.geo.provenance import Provenance
from geodiff.geo.writing import hidden


def write(path: Path, pixels: NDArray[np.uint8], grid: PixelGrid, about: Provenance) -> None:
    """A GeoTIFF of uint8 (3, row, col), lossless and readable by every tool (deflate)."""
    with WorkingRaster(path, grid, 3, about) as raster:
        raster.write(grid.window, pixels)
    cog.finish(raster.path, path, "deflate")


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """A CSV whose columns are the keys of the first row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    put(path, text.getvalue())


def put(path: Path, text: str) -> None:
    """Write a text file under another name first. Raises OutputError where that fails."""
    temporary = hidden(path, "table", path.suffix)
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def is_inside(source: str, out: str) -> bool:
    """Whether the folder ``out`` is ``source``, or lies in it."""
    given, target = Path(source).resolve(), Path(out).resolve()
    return given == target or (given.is_dir() and target.is_relative_to(given))
