"""Contact sheets: many small pictures on one PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from geodiff.geo.writing import WRITE_ERRORS, gdal, hidden, write_failure

GAP = 2
"""White pixels between two pictures."""


def sheet(pictures: Sequence[NDArray[np.uint8]], columns: int, side: int = 0) -> NDArray[np.uint8]:
    """Pictures (height, width, 3) of one size in reading order, on white; uint8 (row, col, 3).

    ``side`` is the most pixels a side that each may take; 0 keeps their size.
    """
    small = [shrunk(picture, side) for picture in pictures]
    height, width = small[0].shape[:2]
    rows = -(-len(small) // columns)
    columns = min(columns, len(small))
    shape = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    image = np.full(shape, 255, np.uint8)
    for number, picture in enumerate(small):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        image[top : top + height, left : left + width] = picture
    return image


def shrunk(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture, averaged over whole pixels until its longer side is at most ``side``."""
    times = -(-max(picture.shape[:2]) // side) if side else 1
    if times == 1:
        return picture
    height, width = (length // times for length in picture.shape[:2])
    parts = picture[: height * times, : width * times].reshape(height, times, width, times, 3)
    means: NDArray[np.uint8] = np.rint(parts.mean((1, 3))).astype(np.uint8)
    return means


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (row, col, 3); it appears when complete. Raises OutputError where it cannot."""
    temporary = hidden(path, str(os.getpid()), ".png")
    height, width = image.shape[:2]
    profile = {"driver": "PNG", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with gdal(), rasterio.open(temporary, "w", **profile) as dataset:
            dataset.write(np.moveaxis(image, -1, 0))
        os.replace(temporary, path)
    except WRITE_ERRORS as error:
        raise write_failure(path, error) from error
    finally:
        with suppress(OSError):  # a file where its folder should be
            temporary.unlink(missing_ok=True)
