"""A quick look: a small PNG of a mosaic, read from its overviews."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geodiff.errors import DataError, UsageError
from geodiff.geo.source import open_raster
from geodiff.geo.target import check_target
from geodiff.geo.writing import WRITE_ERRORS, gdal, hidden, write_failure


def preview(
    path: str | Path, out_png: str | Path, size: int = 1024, overwrite: bool = False
) -> None:
    """Writes a PNG whose longer side is at most ``size`` px, with the mosaic's provenance tags.

    Shows the first three bands, or the first where there are fewer. The PNG appears under its name
    only when complete, without the .aux.xml that GDAL would put beside it. Raises UsageError for a
    size below 1, a suffix other than .png, or when the PNG is the mosaic; DataError if the raster
    cannot be read or is not uint8; OutputError if the PNG exists (and ``overwrite`` is not set) or
    cannot be written.
    """
    target = Path(out_png)
    if size < 1:
        raise UsageError(f"a preview needs at least 1 pixel a side, got {size}")
    if target.suffix.lower() != ".png":
        raise UsageError(f"the preview {target} does not end in .png: give it that suffix")
    check_target(target, overwrite, [str(path)])
    with gdal(), open_raster(path) as dataset:
        if any(kind != "uint8" for kind in dataset.dtypes):
            raise DataError(f"{path} has {dataset.dtypes[0]} pixels: a preview needs uint8")
        shrink = min(1.0, size / max(dataset.shape))
        shape = [max(1, round(side * shrink)) for side in dataset.shape]
        bands = [1, 2, 3] if dataset.count >= 3 else [1]
        pixels = dataset.read(bands, out_shape=(len(bands), *shape), resampling=Resampling.average)
        tags = {name: text for name, text in dataset.tags().items() if name != "AREA_OR_POINT"}
    _write_png(target, pixels, tags)


def _write_png(target: Path, pixels: NDArray[np.uint8], tags: dict[str, str]) -> None:
    temporary = hidden(target, "new", ".png")  # one name: swept by the next run
    bands, height, width = pixels.shape
    try:
        with (
            gdal(),
            rasterio.open(
                temporary,
                "w",
                driver="PNG",
                height=height,
                width=width,
                count=bands,
                dtype="uint8",
                WRITE_METADATA_AS_TEXT="YES",
            ) as dataset,
        ):
            dataset.write(pixels)
            dataset.update_tags(**tags)
        with gdal(), rasterio.open(temporary) as dataset:
            if not np.array_equal(dataset.read(), pixels):
                raise OSError("the file does not hold all pixels that were written")
        os.replace(temporary, target)
    except WRITE_ERRORS as error:
        raise write_failure(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_name(f"{temporary.name}.aux.xml").unlink(missing_ok=True)
