"""Embedding grids as GeoTIFFs: one float32 band a feature, the facts in default-domain tags."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.grid import PixelGrid, dataset_crs
from geodiff.geo.source import open_raster, quiet

_TAGS = "GEODIFF_ENCODER", "GEODIFF_CELL", "GEODIFF_GSD", "GEODIFF_ROW", "GEODIFF_COL"

Values = npt.NDArray[np.float32]


def tags(grid: PixelGrid, cell: int, gsd: float, encoder: str) -> dict[str, str]:
    """The facts about an embedding grid that the transform does not tell, as tags."""
    facts = encoder, str(cell), repr(float(gsd)), str(grid.row), str(grid.col)
    return dict(zip(_TAGS, facts, strict=True))


def write(path: str | Path, values: Values, grid: PixelGrid, facts: dict[str, str]) -> None:
    """Write ``values`` (row, col, feature) beside ``path``, then rename the file into place.

    Raises OutputError.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent} is not a directory: create it, or write elsewhere")
    height, width, features = values.shape
    crs = None if grid.crs is None else str(grid.crs)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            part = Path(folder) / "embeddings.tif"
            with (
                quiet(),
                rasterio.open(
                    part,
                    "w",
                    driver="GTiff",
                    dtype="float32",
                    count=features,
                    height=height,
                    width=width,
                    crs=crs,
                    transform=grid.geobox.affine,
                    nodata=math.nan,
                    compress="zstd",
                    predictor=3,
                    interleave="band",
                    BIGTIFF="IF_SAFER",
                ) as dataset,
            ):
                dataset.update_tags(**facts)
                for band in range(features):
                    dataset.write(values[:, :, band], band + 1)
            os.replace(part, target)
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise OutputError(f"the embeddings cannot be written to {target}: {error}") from error


def read(
    path: str | Path,
) -> tuple[Values, npt.NDArray[np.bool_], PixelGrid, int, float, str]:
    """Values (row, col, feature), validity, grid, cell, gsd and encoder, as ``write`` wrote them.

    Raises DataError if the file is missing, damaged or no embedding grid.
    """
    with open_raster(path) as dataset:
        facts = dataset.tags()
        missing = [name for name in _TAGS if name not in facts]
        if missing:
            raise DataError(
                f"{path} is not an embedding grid of geodiff, it lacks the tags "
                f"{', '.join(missing)}: make one with geodiff embed"
            )
        if set(dataset.dtypes) != {"float32"}:
            raise DataError(f"{path} holds {dataset.dtypes[0]} numbers, embeddings are float32")
        values: Values = np.empty((*dataset.shape, dataset.count), np.float32)
        for band in range(dataset.count):
            values[:, :, band] = dataset.read(band + 1)
        box = GeoBox(dataset.shape, dataset.transform, dataset_crs(dataset))
    encoder, cell, gsd, row, col = (facts[name] for name in _TAGS)
    try:
        grid = PixelGrid(box, int(row), int(col))
        valid = np.asarray(np.isfinite(values).all(axis=2))
        return values, valid, grid, int(cell), float(gsd), str(encoder)
    except (ValueError, UsageError) as error:
        raise DataError(f"{path} has damaged GEODIFF tags or grid: {error}") from error
