"""Embedding grids as GeoParquet: a row for each valid cell, with its polygon and its vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError

from geodiff.errors import DataError
from geodiff.geo.embedding_file import Facts, Values, check_tags, parse
from geodiff.geo.grid import PixelGrid

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("row", "col", "embedding")
"""What is read; the geometry is for those who look at the file."""

_FACTS = b"PANDAS_ATTRS"  # where pandas and geopandas keep the attrs of a frame, as JSON
_ROWS = 16384  # a row group: 4 MiB of vectors at 64 features
_CRS, _TRANSFORM, _SHAPE = "GEODIFF_CRS", "GEODIFF_TRANSFORM", "GEODIFF_SHAPE"
_FEATURES = "GEODIFF_FEATURES"


def write(path: Path, values: Values, grid: PixelGrid, facts: dict[str, str]) -> None:
    """Write GeoParquet 1.1: columns row and col (lattice of cells), embedding, geometry."""
    import pyarrow
    import pyarrow.parquet

    rows, cols = np.nonzero(np.isfinite(values).all(axis=2))
    features = values.shape[2]
    affine, box = grid.geobox.affine, grid.geobox
    left, top = affine.c + cols * affine.a, affine.f + rows * affine.e
    right, bottom = affine.c + (cols + 1) * affine.a, affine.f + (rows + 1) * affine.e
    low, high = np.minimum(top, bottom), np.maximum(top, bottom)
    polygons = shapely.to_wkb(shapely.box(left, low, right, high))
    vectors = pyarrow.array(values[rows, cols].reshape(-1), pyarrow.float32())
    table = pyarrow.table(
        {
            "row": rows.astype(np.int64) + grid.row,
            "col": cols.astype(np.int64) + grid.col,
            "embedding": pyarrow.FixedSizeListArray.from_arrays(vectors, features),
            "geometry": pyarrow.array(polygons, pyarrow.binary()),
        }
    )
    attrs: dict[str, Any] = {name: text for name, text in facts.items() if text}
    attrs |= {
        _TRANSFORM: [float(number) for number in affine[:6]],
        _SHAPE: list(box.shape),
        _FEATURES: features,
    }
    if grid.crs is not None:
        attrs[_CRS] = str(grid.crs)
    metadata = {_FACTS: json.dumps(attrs), b"geo": json.dumps(_geo(grid))}
    table = table.replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(
        table, path, compression="zstd", row_group_size=_ROWS, write_page_checksum=True
    )


def _geo(grid: PixelGrid) -> dict[str, Any]:
    """The metadata of GeoParquet 1.1, https://geoparquet.org/releases/v1.1.0/."""
    bounds = grid.geobox.boundingbox
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "orientation": "counterclockwise",
        "crs": None if grid.crs is None else grid.crs.proj.to_json_dict(),
        "bbox": [bounds.left, bounds.bottom, bounds.right, bounds.top],
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def read(path: str | Path) -> tuple[Values, npt.NDArray[np.bool_], *Facts]:
    """Values (row, col, feature), validity and the facts of a file.

    Positions of the lattice that have no row, or one without a vector, are invalid cells. Raises
    DataError if the file is missing, damaged or no embedding grid, or names a cell twice.
    """
    table, attrs = _load(path)
    check_tags(path, attrs)
    try:
        box = GeoBox(tuple(attrs[_SHAPE]), Affine(*map(float, attrs[_TRANSFORM])), _crs(attrs))
        features = int(attrs[_FEATURES])
        facts = parse(path, attrs, box)
        values: Values = np.full((*box.shape, features), np.nan, np.float32)
    except (KeyError, TypeError, ValueError, CRSError) as error:
        raise DataError(
            f"{path} has no usable {_TRANSFORM}, {_SHAPE} and {_FEATURES} ({error}), so the place "
            "of its cells is unknown: make it again with geodiff embed"
        ) from error
    rows, cols, vectors = _columns(path, table, features)
    rows, cols = rows - facts[0].row, cols - facts[0].col
    outside = (rows < 0) | (cols < 0) | (rows >= box.shape[0]) | (cols >= box.shape[1])
    _refuse(path, facts[0], rows[outside], cols[outside], "lies outside of its grid")
    order = np.lexsort((cols, rows))
    twice = order[1:][(np.diff(rows[order]) == 0) & (np.diff(cols[order]) == 0)]
    _refuse(path, facts[0], rows[twice], cols[twice], "is there twice")
    values[rows, cols] = vectors
    return values, np.asarray(np.isfinite(values).all(axis=2)), *facts


def _load(path: str | Path) -> tuple[pyarrow.Table, dict[str, Any]]:
    """The columns that are needed, and the facts."""
    import pyarrow
    import pyarrow.parquet

    if not Path(path).is_file():
        kind = "is a directory: give a file" if Path(path).is_dir() else "does not exist"
        raise DataError(f"{path} {kind}")
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise DataError(
                    f"{path} is not an embedding grid of geodiff, it lacks the columns "
                    f"{', '.join(missing)}: make one with geodiff embed"
                )
            attrs = json.loads((file.schema_arrow.metadata or {}).get(_FACTS, b"{}"))
            return file.read(list(COLUMNS)), attrs if isinstance(attrs, dict) else {}
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read as Parquet ({reason}); it may be truncated or damaged: copy it "
            "again"
        ) from error


def _columns(
    path: str | Path, table: pyarrow.Table, features: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Values]:
    """Lattice positions, and vectors (row, feature), of the rows that have a vector."""
    import pyarrow
    import pyarrow.compute

    try:
        table = table.filter(pyarrow.compute.is_valid(table["embedding"]))
        lengths = pyarrow.compute.list_value_length(table["embedding"]).to_numpy()
        if (lengths != features).any():
            raise ValueError(f"vectors of {lengths.min()} to {lengths.max()} numbers")
        flat = pyarrow.compute.list_flatten(table["embedding"]).cast(pyarrow.float32())
        places = [table[name].cast(pyarrow.int64()) for name in ("row", "col")]
        if any(place.null_count for place in places):
            raise ValueError("cells without row or col")
    except (ValueError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{path} has columns that make no embedding grid of {features} features ({error}): row "
            "and col are whole numbers, embedding is a list of that many numbers"
        ) from error
    row, col = (place.to_numpy() for place in places)
    return row, col, flat.to_numpy().reshape(-1, features)


def _crs(attrs: dict[str, Any]) -> CRS | None:
    return CRS(attrs[_CRS]) if attrs.get(_CRS) else None


def _refuse(
    path: str | Path,
    grid: PixelGrid,
    rows: npt.NDArray[np.int64],
    cols: npt.NDArray[np.int64],
    what: str,
) -> None:
    """Raises DataError where there are such cells, naming the first."""
    if len(rows):
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise DataError(
            f"{path}: the cell in row {rows[0] + grid.row}, col {cols[0] + grid.col} {what}{more}"
        )
