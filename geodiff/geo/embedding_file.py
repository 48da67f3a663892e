"""Embedding grids as GeoTIFFs: one float32 band a feature, the facts in default-domain tags."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.grid import PixelGrid
from geodiff.geo.source import dataset_crs, open_raster, probe
from geodiff.geo.writing import WRITE_ERRORS, gdal, write_failure
from geodiff.window import Window

log = logging.getLogger(__name__)

_TAGS = (
    *("GEODIFF_ENCODER", "GEODIFF_CELL", "GEODIFF_GSD", "GEODIFF_ROW", "GEODIFF_COL"),
    *("GEODIFF_SOURCE", "GEODIFF_PIXELS"),  # these may be missing
)

Values = npt.NDArray[np.float32]
Facts = tuple[PixelGrid, int, float, str, str, Window | None]
"""Grid, cell, gsd, encoder, source and pixels: the fields of EmbeddingGrid after the arrays."""


def tags(
    grid: PixelGrid, cell: int, gsd: float, encoder: str, source: str, pixels: Window | None
) -> dict[str, str]:
    """The facts about an embedding grid that the transform does not tell, as tags."""
    place = "" if pixels is None else f"{pixels.row} {pixels.col} {pixels.height} {pixels.width}"
    facts = encoder, str(cell), repr(float(gsd)), str(grid.row), str(grid.col), source, place
    return dict(zip(_TAGS, facts, strict=True))


def check_tags(path: str | Path, facts: Mapping[str, object]) -> None:
    """Raises DataError where tags are missing."""
    missing = [name for name in _TAGS[:-2] if name not in facts]
    if missing:
        raise DataError(
            f"{path} is not an embedding grid of geodiff, it lacks the tags "
            f"{', '.join(missing)}: make one with geodiff embed"
        )


def parse(path: str | Path, facts: Mapping[str, object], box: GeoBox) -> Facts:
    """The inverse of ``tags``; ``box`` places the cells. Raises DataError for what is damaged."""
    check_tags(path, facts)
    encoder, cell, gsd, row, col, source, pixels = (str(facts.get(name, "")) for name in _TAGS)
    try:
        numbers = [int(word) for word in pixels.split()]
        if len(numbers) not in (0, 4):
            raise ValueError(f"GEODIFF_PIXELS {pixels!r} is not row, col, height and width")
        window = Window(*numbers) if numbers else None
        return PixelGrid(box, int(row), int(col)), int(cell), float(gsd), encoder, source, window
    except (ValueError, UsageError) as error:
        raise DataError(f"{path} has damaged GEODIFF tags or grid: {error}") from error


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
    path: str | Path, window: Window | None = None
) -> tuple[Values, npt.NDArray[np.bool_], *Facts]:
    """Values (row, col, feature) and validity as written, and the facts of the whole file.

    ``window`` reads a part of the grid, on its lattice of cells. Raises DataError if the file is
    missing, damaged or no embedding grid.
    """
    with open_raster(path) as dataset:
        found = _head(path, dataset)
        features, whole = found[0], found[1].window
        part = whole if window is None else window
        rows, cols = part.within(whole)
        place = RasterWindow(cols.start, rows.start, part.width, part.height)
        values: Values = np.empty((*part.shape, features), np.float32)
        for band in range(features):
            values[:, :, band] = dataset.read(band + 1, window=place)
    return values, np.asarray(np.isfinite(values).all(axis=2)), *found[1:]


def head(path: str | Path) -> tuple[int, *Facts]:
    """The number of features, and the facts; errors as ``read``."""
    with open_raster(path) as dataset:
        probe(dataset)
        return _head(path, dataset)


def _head(path: str | Path, dataset: DatasetReader) -> tuple[int, *Facts]:
    check_tags(path, dataset.tags())
    if set(dataset.dtypes) != {"float32"}:
        raise DataError(f"{path} holds {dataset.dtypes[0]} numbers, embeddings are float32")
    box = GeoBox(dataset.shape, dataset.transform, dataset_crs(dataset))
    return dataset.count, *parse(path, dataset.tags(), box)
