"""Embedding grids as GeoTIFFs: one float32 band a feature, the facts in default-domain tags."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.grid import PixelGrid
from geodiff.geo.source import dataset_crs, open_raster
from geodiff.geo.writing import WRITE_ERRORS, gdal, write_failure

log = logging.getLogger(__name__)

_TAGS = (
    *("GEODIFF_ENCODER", "GEODIFF_CELL", "GEODIFF_GSD", "GEODIFF_ROW", "GEODIFF_COL"),
    "GEODIFF_SOURCE",  # the only one that may be missing
)

Values = npt.NDArray[np.float32]


def tags(grid: PixelGrid, cell: int, gsd: float, encoder: str, source: str) -> dict[str, str]:
    """The facts about an embedding grid that the transform does not tell, as tags."""
    facts = encoder, str(cell), repr(float(gsd)), str(grid.row), str(grid.col), source
    return dict(zip(_TAGS, facts, strict=True))


def digest(
    values: Values, valid: npt.NDArray[np.bool_], grid: PixelGrid, facts: dict[str, str]
) -> str:
    """SHA-256 in hex of everything that a file holds."""
    box = grid.geobox
    place = [str(box.crs), *(float(number).hex() for number in box.affine[:6])]
    total = hashlib.sha256(json.dumps([values.shape, place, facts]).encode())
    total.update(np.where(valid[:, :, None], values, 0).astype("<f4").tobytes())
    total.update(valid.tobytes())
    return total.hexdigest()


def write(path: str | Path, values: Values, grid: PixelGrid, facts: dict[str, str]) -> None:
    """Write ``values`` (row, col, feature) beside ``path``, then rename the file into place.

    Tags without a text are left out. Raises OutputError; GDAL reports a full disk only for some
    writes, so the file is read back first.
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
                gdal(),
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
                dataset.update_tags(**{name: text for name, text in facts.items() if text})
                for band in range(features):
                    dataset.write(values[:, :, band], band + 1)
            with gdal(), rasterio.open(part) as dataset:
                for band in range(features):
                    if not np.array_equal(dataset.read(band + 1), values[:, :, band], True):
                        raise OSError("the file does not hold all that was written")
            os.replace(part, target)
        log.info("embeddings: %s, %d x %d cells, %d features", target, height, width, features)
    except WRITE_ERRORS as error:
        raise write_failure(target, error) from error


def read(
    path: str | Path,
) -> tuple[Values, npt.NDArray[np.bool_], PixelGrid, int, float, str, str]:
    """Values (row, col, feature), validity, grid, cell, gsd, encoder and source, as written.

    Raises DataError if the file is missing, damaged or no embedding grid.
    """
    with open_raster(path) as dataset:
        facts = dataset.tags()
        missing = [name for name in _TAGS[:-1] if name not in facts]
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
    encoder, cell, gsd, row, col, source = (str(facts.get(name, "")) for name in _TAGS)
    try:
        grid = PixelGrid(box, int(row), int(col))
        valid = np.asarray(np.isfinite(values).all(axis=2))
        return values, valid, grid, int(cell), float(gsd), encoder, source
    except (ValueError, UsageError) as error:
        raise DataError(f"{path} has damaged GEODIFF tags or grid: {error}") from error
