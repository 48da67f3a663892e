"""Reading a reference raster on any pixel grid, as three bands of bytes and a mask."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject
from rasterio.windows import Window as RasterWindow

from geodiff.errors import DataError
from geodiff.geo.bands import check_type, choose_bands, is_masked
from geodiff.geo.boxes import crs_name
from geodiff.geo.grid import PixelGrid
from geodiff.geo.placement import Placement
from geodiff.geo.provenance import source_name
from geodiff.geo.source import open_raster, probe
from geodiff.window import Window

log = logging.getLogger(__name__)

Pixels = tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]

_BLOCK = 512  # side, in pixels of the target, of the lattice-aligned blocks that are warped at once
_SOURCE_SIDE = 2048  # side, in source pixels, that one block may need
_SAMPLES = 256  # samples a side for coverage
_OPAQUE = 128  # mask value (0..255) from which a pixel counts as valid


@dataclass(frozen=True)
class Reference:
    """A raster to go by: where it is, which three bands are used and how they become bytes.

    ``bands`` are counted from 1; ``scale`` (low, high) maps to 0..255, None takes bytes as they
    are; ``masked`` tells whether the file marks pixels as invalid (nodata, mask or alpha band).
    Holds no open file, so it may be sent to another process. Make one with ``Reference.open``.
    """

    path: str
    bands: tuple[int, int, int]
    scale: tuple[float, float] | None
    masked: bool
    placement: Placement

    @classmethod
    def open(
        cls,
        path: str | Path,
        bands: Sequence[int] | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Reference:
        """Look into the raster at ``path``; ``bands`` None takes the first three.

        A fourth band that is labelled alpha but holds an image (near infrared, as in many NAIP
        files) is not taken for a mask. Raises DataError if the raster cannot be used: missing,
        truncated, empty, too few bands, a palette, no bytes without ``scale``, no valid pixel;
        UsageError if ``bands`` or ``scale`` make no sense.
        """
        with open_raster(path) as dataset:
            probe(dataset)
            chosen = choose_bands(dataset, bands)
            check_type(dataset, chosen, scale)
            masked = is_masked(dataset, chosen)
            reference = cls(str(path), chosen, scale, masked, Placement.of(dataset))
            if not reference._has_valid(dataset):
                raise DataError(
                    f"{path} has no valid pixel (all nodata or transparent): check its nodata "
                    f"value ({dataset.nodata}) or take another raster"
                )
            log.info(
                "source: %s (%s), bands %s of %d as red, green, blue, %d x %d px, %s",
                *(source_name(str(path)), dataset.driver, chosen, dataset.count),
                *(dataset.width, dataset.height, crs_name(reference.placement.crs)),
            )
            log.debug("source: transform %s, nodata %s", tuple(dataset.transform), dataset.nodata)
        return reference

    def read(self, grid: PixelGrid, window: Window | None = None) -> Pixels:
        """Image uint8 (3, height, width) and validity bool (height, width) of a part of ``grid``.

        ``window`` counts in the grid's lattice and may reach beyond it; None takes the whole grid.
        Pixels are copied to the bit where the raster lies on the lattice, else warped: averaged
        when the raster is more than twice as fine, cubic otherwise. A pixel depends on its
        lattice position alone, never on ``window``. Invalid pixels, also those beyond the raster,
        are 0. Memory is that of the result. Raises DataError if the raster cannot be placed on the
        grid, or fails while it is read.
        """
        target = grid.window if window is None else window
        self.placement.check(self.path, grid)
        with open_raster(self.path) as dataset:
            offset = self.placement.offset_on(grid)
            log.debug("source: %s %s", "warps" if offset is None else "copies", target)
            if offset is not None:
                row, col = target.row - offset[0], target.col - offset[1]
                return self._copy(dataset, Window(row, col, *target.shape))
            return self._warp(dataset, grid, target)

    def coverage(self, grid: PixelGrid) -> float:
        """Share (0..1) of the grid's pixels that the raster covers with valid ones, from samples.

        At most 256 x 256 places are looked at within the raster's own extent, so a small raster on
        a large grid is not missed. Raises DataError as ``read`` does.
        """
        self.placement.check(self.path, grid)
        extent = self.placement.extent_on(grid)
        common = grid.window if extent is None else extent.intersect(grid.window)
        if common is None:
            return 0.0
        rows = common.row + (np.arange(n := min(common.height, _SAMPLES)) + 0.5) * common.height / n
        cols = common.col + (np.arange(n := min(common.width, _SAMPLES)) + 0.5) * common.width / n
        row, col = self.placement.positions(grid, *np.meshgrid(rows, cols, indexing="ij"))
        with np.errstate(invalid="ignore"):
            inside = (row >= 0) & (row < self.placement.height)
            inside &= (col >= 0) & (col < self.placement.width)
        if self.masked and inside.any():
            inside[inside] = self._sample_mask(row[inside], col[inside])
        covered = float(inside.mean()) * math.prod(common.shape) / math.prod(grid.window.shape)
        log.info("source: covers %.1f %% of the grid", 100 * covered)
        return covered

    def _sample_mask(
        self, row: npt.NDArray[np.float64], col: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """Validity at positions inside the raster, from a mask read at reduced size."""
        top, left = int(row.min()), int(col.min())
        height, width = int(row.max()) + 1 - top, int(col.max()) + 1 - left
        shape = len(self.bands), min(height, 4 * _SAMPLES), min(width, 4 * _SAMPLES)
        with open_raster(self.path) as dataset:
            masks = dataset.read_masks(
                self.bands, window=RasterWindow(left, top, width, height), out_shape=shape
            )
        rows = ((row - top) * shape[1] / height).astype(int)
        cols = ((col - left) * shape[2] / width).astype(int)
        valid: npt.NDArray[np.bool_] = masks.max(axis=0)[rows, cols] >= _OPAQUE
        return valid

    def _has_valid(self, dataset: DatasetReader) -> bool:
        """Whether any pixel is valid; looks at tiles from the centre outwards."""
        if not self.masked and not np.issubdtype(np.dtype(dataset.dtypes[0]), np.inexact):
            return True
        whole, middle = Window(0, 0, *dataset.shape), np.array(dataset.shape) / 2

        def away(tile: Window) -> float:
            return math.dist((tile.row + tile.height / 2, tile.col + tile.width / 2), middle)

        tiles = sorted(whole.tiles(1024), key=away)
        return any(self._copy(dataset, tile)[1].any() for tile in tiles)

    def _copy(self, dataset: DatasetReader, window: Window) -> Pixels:
        """Pixels of ``window``, which counts in the raster's own pixels and may reach beyond it."""
        image = np.zeros((3, *window.shape), np.uint8)
        valid = np.zeros(window.shape, np.bool_)
        common = window.intersect(Window(0, 0, *dataset.shape))
        if common is None:
            return image, valid
        part = RasterWindow(common.col, common.row, common.width, common.height)
        data = dataset.read(self.bands, window=part)
        good = np.ones(common.shape, np.bool_)
        if self.masked:
            good = dataset.read_masks(self.bands, window=part).max(axis=0) >= _OPAQUE
        if np.issubdtype(data.dtype, np.inexact):
            good &= np.isfinite(data).all(axis=0)
        if self.scale is not None:
            low, high = self.scale
            data = np.where(good, data, low).astype(np.float64)
            data = np.rint((np.clip(data, low, high) - low) * (255 / (high - low)))
        rows, cols = common.within(window)
        image[:, rows, cols] = np.where(good, data, 0)
        valid[rows, cols] = good
        return image, valid

    def _warp(self, dataset: DatasetReader, grid: PixelGrid, target: Window) -> Pixels:
        """Pixels of ``target`` from whole blocks of the lattice, so that none depends on it."""
        image = np.zeros((3, *target.shape), np.uint8)
        valid = np.zeros(target.shape, np.bool_)
        # One figure, unless a part of the raster has no place in the grid's CRS.
        overall = self.placement.shrink(grid) if self.placement.extent_on(grid) else None
        for piece in target.tiles(_BLOCK):
            shrink = overall or self.placement.shrink(grid, piece.snap(_BLOCK))
            if shrink is None:
                continue
            for part in piece.tiles(size := self._block_side(max(shrink))):
                block = part.snap(size)
                warped = self._warp_block(dataset, grid, block, shrink)
                if warped is not None:
                    (rows, cols), (to_rows, to_cols) = part.within(block), part.within(target)
                    valid[to_rows, to_cols] = warped[3, rows, cols] >= _OPAQUE
                    image[:, to_rows, to_cols] = warped[:3, rows, cols] * valid[to_rows, to_cols]
        return image, valid

    def _block_side(self, shrink: float) -> int:
        """Pixels a side of the blocks that are warped at once, fewer for a finer raster."""
        size = _BLOCK
        while size > 8 and size * shrink > _SOURCE_SIDE:
            size //= 2
        if size * shrink > _SOURCE_SIDE:
            raise DataError(
                f"{self.path} is {shrink:.0f} times finer than the grid: make a coarser copy first "
                "(gdalwarp -r average -tr ...)"
            )
        return size

    def _warp_block(
        self, dataset: DatasetReader, grid: PixelGrid, block: Window, shrink: tuple[float, float]
    ) -> npt.NDArray[np.uint8] | None:
        """Three bands and opacity, uint8 (4, height, width); None where the raster is not."""
        margin = 4 + math.ceil(3 * max(*shrink, 1.0))
        window = self.placement.source_window(grid, block, margin)
        if window is None:
            return None
        image, valid = self._copy(dataset, window)
        warped = np.zeros((4, *block.shape), np.uint8)
        # GDAL guesses the ratio of sizes anew for every chunk: pixels would depend on the chunk.
        # https://gdal.org/en/stable/doxygen/structGDALWarpOptions.html (XSCALE, YSCALE)
        down, across = (1.0 if ratio < 1.05 else ratio for ratio in shrink)
        assert grid.crs is not None
        reproject(
            np.concatenate([image, valid[None] * np.uint8(255)]),
            warped,
            src_transform=self.placement.affine_at(window.row, window.col),
            src_crs=dataset.crs,
            dst_transform=grid.crop(block).geobox.affine,
            dst_crs=CRS.from_user_input(str(grid.crs)),
            resampling=Resampling.average if max(shrink) > 2 else Resampling.cubic,
            src_alpha=4,
            dst_alpha=4,
            XSCALE=1 / across,
            YSCALE=1 / down,
        )
        return warped


def read_chip(path: str | Path) -> npt.NDArray[np.uint8]:
    """First three bands of a small image, uint8 (3, height, width), read whole and without masks.

    For training images, wherever they lie. Raises DataError as ``Reference.open`` does.
    """
    with open_raster(path) as dataset:
        bands = choose_bands(dataset, None)
        check_type(dataset, bands, None)
        image: npt.NDArray[np.uint8] = dataset.read(bands)
    return image
