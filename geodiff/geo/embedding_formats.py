"""Files of embedding grids: the suffix picks the format; a file is put into place only whole."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from geodiff.errors import OutputError, UsageError
from geodiff.geo import embedding_file
from geodiff.geo.embedding_file import Facts, Values
from geodiff.geo.grid import PixelGrid
from geodiff.geo.target import check_target
from geodiff.geo.writing import WRITE_ERRORS, write_failure

log = logging.getLogger(__name__)

FORMATS = {
    ".tif": "GeoTIFF", ".tiff": "GeoTIFF", ".zarr": "Zarr", ".parquet": "GeoParquet",
}  # fmt: skip
"""Suffix -> format."""


def format_of(path: str | Path) -> str:
    """The format that the suffix of a file or URL tells, a value of FORMATS.

    Raises UsageError for any other suffix.
    """
    name = urlsplit(str(path)).path if "://" in str(path) else str(path)
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{path} does not end in {', '.join(FORMATS)}: the suffix of an embedding grid tells "
            "its format"
        )
    return FORMATS[suffix]


def check_grid_target(path: str | Path, overwrite: bool, sources: Sequence[str] = ()) -> None:
    """Refuses, before any work, an embedding grid that could not or must not be written.

    Raises UsageError for a suffix of no format and for a path that is one of the ``sources`` or
    holds one; OutputError as ``check_target`` does.
    """
    path = Path(path)
    store = format_of(path) == "Zarr"
    if store and any(Path(path).resolve() in Path(source).resolve().parents for source in sources):
        raise UsageError(f"the output {path} holds a source: sources are never overwritten")
    check_target(path, overwrite, sources, store)


def write(path: str | Path, values: Values, grid: PixelGrid, facts: dict[str, str]) -> None:
    """Write ``values`` (row, col, feature) in the format of the suffix, replacing ``path``.

    Made beside ``path``, read back, then renamed into place; the store of an old Zarr is moved out
    of the way first, and back if that fails. Raises UsageError for an unknown suffix, OutputError
    where it cannot be written; then whatever was there before still is.
    """
    target = Path(path)
    if format_of(path) == "GeoTIFF":
        embedding_file.write(path, values, grid, facts)
        return
    check_target(target, True, (), format_of(path) == "Zarr")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            part = Path(folder) / f"grid{target.suffix}"
            module = _module(path)
            module.write(part, values, grid, facts)
            again: tuple[Values, npt.NDArray[np.bool_], *Facts] = module.read(part)
            if not np.array_equal(again[0], values, True) or again[2] != grid:
                raise OSError("the file does not hold all that was written")
            _put(part, target)
    except WRITE_ERRORS as error:
        raise write_failure(target, error) from error
    log.info("embeddings: %s, %d x %d cells, %d features", target, *values.shape)


def read(path: str | Path) -> tuple[Values, npt.NDArray[np.bool_], *Facts]:
    """Values (row, col, feature), validity and the facts of a file in the format of its suffix.

    Raises UsageError for an unknown suffix, DataError for a file that is missing, damaged or no
    embedding grid.
    """
    parts: tuple[Values, npt.NDArray[np.bool_], *Facts] = _module(path).read(path)
    return parts


def _module(path: str | Path) -> ModuleType:
    """The module with ``read`` and ``write`` of a format; xarray and Arrow load when needed."""
    kind = format_of(path)
    if kind == "Zarr":
        from geodiff.geo import embedding_zarr

        return embedding_zarr
    if kind == "GeoParquet":
        from geodiff.geo import embedding_parquet

        return embedding_parquet
    return embedding_file


def _put(part: Path, target: Path) -> None:
    """Rename a finished file or folder to ``target``, whatever is there."""
    if not (part.is_dir() and os.path.lexists(target)):
        os.replace(part, target)
        return
    old = part.with_name("replaced")
    os.rename(target, old)
    try:
        os.rename(part, target)
    except BaseException as error:
        os.rename(old, target)
        if isinstance(error, OSError):
            raise OutputError(f"cannot write {target}: {error.strerror}") from error
        raise
