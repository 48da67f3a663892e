"""Embedding grids in xarray, and as Zarr: CF's ``spatial_ref`` and the conventions of GeoZarr."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError

from geodiff.errors import DataError
from geodiff.geo.embedding_file import Facts, Values, check_tags, parse
from geodiff.geo.grid import PixelGrid

if TYPE_CHECKING:
    import xarray

NAME = "embedding"
"""The array of a store."""

_CRS = "GEODIFF_CRS"  # a CRS without a code, in the very words that it was given in
_CODE = re.compile("[A-Z]+:[0-9]+")  # of the schema of proj:code
_CHUNK = 64  # cells a side, all features: 1 MiB at 64 features
_RAW = "https://raw.githubusercontent.com"
# https://github.com/zarr-conventions/spatial and https://github.com/zarr-conventions/geo-proj
_SPATIAL = {
    "schema_url": f"{_RAW}/zarr-conventions/spatial/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial:",
    "description": "Spatial coordinate information",
}
_PROJ = {
    "schema_url": f"{_RAW}/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}


def to_xarray(values: Values, grid: PixelGrid, facts: dict[str, str]) -> xarray.DataArray:
    """DataArray (feature, y, x) with cell-centre coordinates, ``spatial_ref`` and the facts."""
    import rioxarray  # noqa: F401  (registers .rio)
    import xarray

    affine, (height, width) = grid.geobox.affine, grid.geobox.shape
    array = xarray.DataArray(
        np.moveaxis(values, 2, 0),
        dims=("feature", "y", "x"),
        coords={
            "y": affine.f + (np.arange(height) + 0.5) * affine.e,
            "x": affine.c + (np.arange(width) + 0.5) * affine.a,
        },
        name=NAME,
        attrs={name: text for name, text in facts.items() if text},
    )
    if grid.crs is not None:
        array = array.rio.write_crs(str(grid.crs))
    referenced: xarray.DataArray = array.rio.write_transform(affine).rio.write_nodata(np.nan)
    return referenced


def conventions(grid: PixelGrid) -> dict[str, Any]:
    """The attributes ``spatial:`` and ``proj:``, which place the cells to the bit."""
    box = grid.geobox
    bounds = box.boundingbox
    place: dict[str, Any] = {
        "zarr_conventions": [_SPATIAL],
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(box.shape),
        "spatial:transform": [float(number) for number in box.affine[:6]],
        "spatial:bbox": [bounds.left, bounds.bottom, bounds.right, bounds.top],
        "spatial:registration": "pixel",
    }
    if grid.crs is not None:
        text = str(grid.crs)
        place["zarr_conventions"] = [_SPATIAL, _PROJ]
        if _CODE.fullmatch(text):
            return place | {"proj:code": text}
        return place | {"proj:wkt2": grid.crs.proj.to_wkt("WKT2_2019"), _CRS: text}
    return place


def write(path: Path, values: Values, grid: PixelGrid, facts: dict[str, str]) -> None:
    """Write a Zarr group at ``path``, which must not exist; every chunk has a file.

    In format 2, which GDAL (and so QGIS) has long read; format 3 is new to it. The checksum of
    Zstandard finds damaged and truncated chunks, which xarray's default, Blosc, may take for whole.
    """
    from numcodecs import Zstd

    array, place = to_xarray(values, grid, facts), conventions(grid)
    array.attrs |= place
    array.encoding |= {
        "chunks": (values.shape[2], *(min(side, _CHUNK) for side in values.shape[:2])),
        "compressors": (Zstd(level=3, checksum=True),),
        "coordinates": "spatial_ref",  # else it opens as a variable, and xarray loses the CRS
    }
    data = array.to_dataset()
    data.attrs = place
    data.to_zarr(path, zarr_format=2, consolidated=True, write_empty_chunks=True, mode="w-")


def read(path: str | Path) -> tuple[Values, npt.NDArray[np.bool_], *Facts]:
    """Values (row, col, feature), validity and the facts of a store.

    Raises DataError if it is missing, damaged, not whole or no embedding grid.
    """
    folder = Path(path)
    if not folder.is_dir():
        kind = "is a file, a Zarr is a directory" if folder.exists() else "does not exist"
        raise DataError(f"{path} {kind}: check the path")
    try:
        array = _load(folder)
    except DataError:
        raise
    except Exception as error:  # whatever xarray, Zarr and its codecs raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{path} cannot be read as Zarr ({reason}); it may be incomplete or damaged: copy it "
            "again"
        ) from error
    values = np.ascontiguousarray(np.moveaxis(array.values, 0, 2))
    check_tags(path, array.attrs)
    box = _box(path, array.attrs, values.shape[:2])
    return values, np.asarray(np.isfinite(values).all(axis=2)), *parse(path, array.attrs, box)


def _load(folder: Path) -> xarray.DataArray:
    """The array in memory, as (feature, y, x)."""
    import xarray
    import zarr

    with xarray.open_dataset(
        folder, engine="zarr", chunks=None, consolidated=False, decode_cf=False
    ) as data:
        if NAME not in data or set(data[NAME].dims) != {"feature", "y", "x"}:
            raise DataError(
                f"{folder} has no array {NAME} over feature, y and x, as embedding grids do: make "
                "one with geodiff embed"
            )
        if data[NAME].dtype != np.float32:
            raise DataError(f"{folder} holds {data[NAME].dtype} numbers, embeddings are float32")
        stored = zarr.open_array(folder / NAME, mode="r")
        if stored.nchunks_initialized < stored.nchunks:  # they would read as invalid cells
            raise DataError(
                f"{folder} lacks {stored.nchunks - stored.nchunks_initialized} of "
                f"{stored.nchunks} chunks: copy it again"
            )
        return data[NAME].transpose("feature", "y", "x").load()


def _box(path: str | Path, facts: dict[str, Any], shape: tuple[int, ...]) -> GeoBox:
    """Where the cells lie. Raises DataError where the attributes do not tell, or do not fit."""
    try:
        affine = Affine(*map(float, facts["spatial:transform"]))
        told = tuple(facts.get("spatial:shape", shape))
        text = facts.get(_CRS) or facts.get("proj:code") or facts.get("proj:wkt2")
        crs = CRS(text) if text else None
    except (KeyError, TypeError, ValueError, CRSError) as error:
        raise DataError(
            f"{path} has no usable attributes spatial:transform and proj:code ({error}), so the "
            "place of its cells is unknown: make it again with geodiff embed"
        ) from error
    if told != shape:
        raise DataError(
            f"{path} has {shape[0]} x {shape[1]} cells, but attributes of {told}: a part that was "
            "cut out needs new ones, so cut with EmbeddingGrid.crop and save that"
        )
    return GeoBox((shape[0], shape[1]), affine, crs)
