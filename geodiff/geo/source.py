"""Opening rasters so that whatever is wrong with a file becomes one clear DataError."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from odc.geo import CRS
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from geodiff.errors import DataError


@contextmanager
def quiet() -> Iterator[None]:
    """Silence rasterio's remark about missing georeferencing where pixel coordinates are fine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def open_raster(path: str | Path) -> Iterator[DatasetReader]:
    """The raster at ``path`` (a file, or anything that GDAL opens: /vsi..., https://...).

    Raises DataError if it is missing, empty, no raster, or fails while it is read in the body of
    the ``with`` statement, as truncated files do.
    """
    _check_file(path)
    try:
        with quiet():
            dataset = rasterio.open(path)
    except (RasterioError, CPLE_BaseError) as error:
        raise DataError(
            f"{path} cannot be opened as a raster ({error}); it may be truncated or of another "
            "format: check it with gdalinfo"
        ) from error
    try:
        with dataset:
            yield dataset
    except (RasterioError, CPLE_BaseError) as error:
        cause = error.__cause__ or error
        raise DataError(
            f"{path} opens but cannot be read ({cause}); it may be truncated or damaged: "
            "copy or download it again"
        ) from error


def probe(dataset: DatasetReader) -> None:
    """Read the last pixel, which a truncated file usually lacks; call it within ``open_raster``."""
    corner = RasterWindow(dataset.width - 1, dataset.height - 1, 1, 1)
    dataset.read(dataset.count, window=corner)


def dataset_crs(dataset: DatasetReader) -> CRS | None:
    """CRS of an open raster, by its EPSG code only where the match is certain; None without."""
    return CRS(dataset.crs.to_string()) if dataset.crs else None


def _check_file(path: str | Path) -> None:
    name = str(path)
    if not name.strip():
        raise DataError("the name of the raster is empty: give a file")
    if Path(name).is_dir():
        raise DataError(f"{name} is a directory: give a raster file")
    if Path(name).is_file():
        if Path(name).stat().st_size == 0:
            raise DataError(f"{name} is empty (0 bytes): copy or download it again")
    elif ":" not in name and not name.startswith("/vsi"):
        raise DataError(f"{name} does not exist: check the path")
