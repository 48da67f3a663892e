"""Which bands of a raster make an image, and whether its alpha band is one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from geodiff.errors import DataError, UsageError


def choose_bands(dataset: DatasetReader, bands: Sequence[int] | None) -> tuple[int, int, int]:
    """Three band numbers, from 1; None takes the first three.

    Raises DataError if the raster has a palette or too few bands, UsageError for other numbers.
    """
    name, count = dataset.name, dataset.count
    if dataset.colorinterp[0] == ColorInterp.palette:
        raise DataError(
            f"{name} has a colour palette: expand it first "
            f"(gdal_translate -expand rgb {name} out.tif)"
        )
    if bands is None:
        if count < 3:
            raise DataError(
                f"{name} has {count} band{'s' * (count > 1)}, three are needed: "
                "give --bands 1,1,1 to use it as grey"
            )
        return 1, 2, 3
    if len(bands) != 3 or not all(1 <= band <= count for band in bands):
        raise UsageError(
            f"bands {tuple(bands)} of {name}: give three numbers from 1 to {count}, such as 1,1,1"
        )
    red, green, blue = bands
    return int(red), int(green), int(blue)


def check_type(
    dataset: DatasetReader, bands: Sequence[int], scale: tuple[float, float] | None
) -> None:
    """Raises DataError unless the numbers are bytes or ``scale`` (low, high) maps them to bytes.

    UsageError if ``scale`` is no range.
    """
    kind = np.dtype(dataset.dtypes[bands[0] - 1])
    if scale is None:
        if kind != np.uint8:
            raise DataError(
                f"{dataset.name} holds {kind} numbers, not bytes: give --scale LO,HI, the values "
                "to map to 0..255"
            )
    elif not (len(scale) == 2 and all(map(math.isfinite, scale)) and scale[0] < scale[1]):
        raise UsageError(f"the scale {scale} is no range: give LO,HI with LO below HI")
    if np.issubdtype(kind, np.complexfloating):
        raise DataError(f"{dataset.name} holds complex numbers: convert them to magnitudes first")


def is_masked(dataset: DatasetReader, bands: Sequence[int]) -> bool:
    """Whether the file marks pixels as invalid: by a nodata value, a mask or a true alpha band."""
    flags = dataset.mask_flag_enums[bands[0] - 1]
    if MaskFlags.alpha not in flags:
        return MaskFlags.all_valid not in flags
    alpha = dataset.colorinterp.index(ColorInterp.alpha) + 1
    return alpha not in bands and _is_opacity(dataset, alpha)


def _is_opacity(dataset: DatasetReader, band: int) -> bool:
    """Whether a band labelled alpha is one: nearly all samples are opaque or transparent.

    GDAL labels the fourth band of an RGB file alpha by default, also where it is near infrared.
    """
    data = np.concatenate([tile.ravel() for tile in _sample_tiles(dataset, band)])
    highest = np.iinfo(data.dtype).max if np.issubdtype(data.dtype, np.integer) else 1
    opaque = data >= 0.98 * highest
    extremes = float((opaque | (data <= 0.02 * highest)).mean())
    return not data.any() or bool(extremes >= 0.95 and opaque.any())


def _sample_tiles(dataset: DatasetReader, band: int) -> Iterator[npt.NDArray[np.generic]]:
    """Nine tiles of at most 256 x 256 pixels, spread evenly."""
    height, width = min(dataset.height, 256), min(dataset.width, 256)
    for row in np.linspace(0, dataset.height - height, 3).astype(int):
        for col in np.linspace(0, dataset.width - width, 3).astype(int):
            yield dataset.read(band, window=RasterWindow(col, row, width, height))
