"""The mosaic while it is painted: a tiled working GeoTIFF beside the output, hidden."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from geodiff.geo.grid import PixelGrid
from geodiff.geo.provenance import Provenance
from geodiff.geo.writing import (
    WRITE_ERRORS,
    gdal,
    hidden,
    histogram,
    pixel_window,
    statistics,
    write_failure,
)
from geodiff.window import Window

BAND_NAMES = ("red", "green", "blue", "nir")
_BLOCK = 512


class WorkingRaster:
    """The working GeoTIFF of a mosaic at ``out_path``, written window by window in any order.

    ``with WorkingRaster(out, grid, provenance=...) as raster: raster.write(window, pixels)``, then
    ``cog.finish(raster.path, out)``. The file has the grid's CRS and transform to the bit, uint8
    bands, 512 px ZSTD tiles, and the tags and XMP of ``provenance`` from its creation on (later
    edits would break the COG). Leaving the block checks that the file holds what was written: GDAL
    reports a full disk only for some writes. Leaving it by an exception removes the file. Raises
    OutputError in one line when the file cannot be written.
    """

    def __init__(
        self,
        out_path: str | Path,
        grid: PixelGrid,
        bands: int = 3,
        provenance: Provenance | None = None,
        token: str | None = None,
    ) -> None:
        self.grid, self.bands, self.provenance = grid, bands, provenance
        self.path = hidden(Path(out_path), token or str(os.getpid()))
        self._dataset: Any = None
        self._sum = 0  # of all pixel values the file should hold

    def __enter__(self) -> WorkingRaster:
        try:
            self._create()
        except BaseException as error:
            self._discard()
            if isinstance(error, WRITE_ERRORS):
                raise write_failure(self.path, error) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        done = False
        try:
            self._close()
            if kind is None:
                self._verify()
                done = True
        except WRITE_ERRORS as failure:
            if kind is None:
                raise write_failure(self.path, failure) from failure
        finally:
            if not done:
                self._discard()

    def write(self, window: Window, pixels: NDArray[np.uint8]) -> None:
        """Puts uint8 ``pixels`` (band, row, col) at a ``window`` of the lattice.

        What lies outside the grid is dropped; what was there before is replaced. Raises ValueError
        unless the pixels fit the window and the bands, OutputError when the disk refuses.
        """
        if pixels.dtype != np.uint8 or pixels.shape != (self.bands, *window.shape):
            raise ValueError(
                f"pixels must be uint8 {(self.bands, *window.shape)}, "
                f"got {pixels.dtype} {pixels.shape}"
            )
        part = window.intersect(self.grid.window)
        if part is None:
            return
        rows, cols = part.within(window)
        inside = Window(part.row - self.grid.row, part.col - self.grid.col, *part.shape)
        target, new = pixel_window(inside), np.ascontiguousarray(pixels[:, rows, cols])
        try:
            with gdal():
                old = self._dataset.read(window=target)
                self._dataset.write(new, window=target)
        except WRITE_ERRORS as error:
            raise write_failure(self.path, error.__cause__ or error) from error
        self._sum += int(new.sum(dtype=np.int64)) - int(old.sum(dtype=np.int64))

    @property
    def total(self) -> int:
        """Sum of all pixel values that the file should hold."""
        return self._sum

    def _create(self) -> None:
        geobox = self.grid.geobox
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "height": geobox.shape[0],
            "width": geobox.shape[1],
            "count": self.bands,
            "dtype": "uint8",
            "crs": None if self.grid.crs is None else CRS.from_wkt(self.grid.crs.to_wkt()),
            "transform": geobox.affine,
            "tiled": True,
            "blockxsize": _BLOCK,
            "blockysize": _BLOCK,
            "compress": "zstd",
            "zstd_level": 1,  # short-lived; the COG copy compresses properly
            "bigtiff": "IF_SAFER",
            "sparse_ok": True,
        }
        if self.bands in (3, 4):  # a fourth band would be taken for transparency
            profile |= {"photometric": "RGB", "alpha": "NO"}
        with gdal():
            self._dataset = rasterio.open(self.path, "w+", **profile)
            if self.bands in (3, 4):
                rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
                self._dataset.colorinterp = rgb + [ColorInterp.undefined] * (self.bands - 3)
                for band in range(self.bands):
                    self._dataset.set_band_description(band + 1, BAND_NAMES[band])
            if self.provenance is not None:
                self._dataset.update_tags(**self.provenance.tags())
                # rasterio stores "name=value" items; GDAL wants the bare packet in this domain,
                # so the packet is handed over cut at its first equals sign.
                name, _, value = self.provenance.xmp().partition("=")
                self._dataset.update_tags(ns="xml:XMP", **{name: value})

    def _close(self) -> None:
        dataset, self._dataset = self._dataset, None
        if dataset is not None:
            with gdal():
                dataset.close()

    def _verify(self) -> None:
        counts = histogram(self.path)
        held = int((counts @ np.arange(256)).sum())
        if held != self._sum:
            raise OSError("the file does not hold all pixels that were written; is the disk full?")
        if self.provenance is None:
            return  # a part: the statistics of the whole mosaic are wanted
        with gdal(), rasterio.open(self.path, "r+") as dataset:
            for band, numbers in enumerate(counts, start=1):
                tags = {name: f"{value:.17g}" for name, value in statistics(numbers).items()}
                dataset.update_tags(band, **tags)

    def _discard(self) -> None:
        with suppress(*WRITE_ERRORS):
            self._close()
        self.path.unlink(missing_ok=True)
