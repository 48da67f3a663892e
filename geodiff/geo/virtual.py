"""Many rasters of one grid as a single one: a GDAL virtual raster with the mosaic's papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from geodiff.geo.grid import PixelGrid
from geodiff.geo.mosaic import BAND_NAMES
from geodiff.geo.provenance import Provenance
from geodiff.geo.writing import statistics
from geodiff.window import Window

_BLOCK = 512


@dataclass(frozen=True, order=True)
class Tile:
    """A file beside the virtual raster, and the window of the lattice that it fills."""

    name: str
    window: Window

    def source(self, band: int, grid: PixelGrid) -> str:
        """The XML that lays one band of the file onto ``grid``."""
        height, width = self.window.shape
        row, col = self.window.row - grid.row, self.window.col - grid.col
        size = f'xSize="{width}" ySize="{height}"'
        return (
            f'<SimpleSource><SourceFilename relativeToVRT="1">{escape(self.name)}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="Byte"'
            f' BlockXSize="{_BLOCK}" BlockYSize="{_BLOCK}"/>'
            f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{col}" yOff="{row}" {size}/>'
            "</SimpleSource>"
        )


def write_virtual(
    path: Path,
    grid: PixelGrid,
    tiles: Sequence[Tile],
    counts: NDArray[np.int64],
    provenance: Provenance,
) -> None:
    """Write the virtual raster of ``tiles`` over ``grid`` to ``path`` (.vrt), beside the tiles.

    ``counts`` (band, 256) are how often each value occurs, for GDAL's statistics. GDAL's COG driver
    copies all of it: https://gdal.org/en/stable/drivers/raster/vrt.html. Raises OSError.
    """
    height, width = grid.window.shape
    # repr of a float is read back to the same bits.
    affine, place = grid.geobox.affine, ""
    if not affine.is_identity:
        numbers = ", ".join(repr(float(number)) for number in affine.to_gdal())
        place = f"<GeoTransform>{numbers}</GeoTransform>"
    if grid.crs is not None:
        place = f"<SRS>{escape(CRS.from_wkt(grid.crs.to_wkt()).to_wkt())}</SRS>{place}"
    bands = "".join(
        _band(number, tiles, grid, statistics(band), len(counts))
        for number, band in enumerate(counts, start=1)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{place}'
        f"{_items(provenance.tags())}"
        f'<Metadata domain="xml:XMP" format="xml">{provenance.xmp()}</Metadata>'
        f"{bands}</VRTDataset>",
        encoding="utf-8",
    )


def _band(
    number: int, tiles: Sequence[Tile], grid: PixelGrid, figures: Mapping[str, float], bands: int
) -> str:
    shown = ""
    if bands in (3, 4):
        colour = ("Red", "Green", "Blue", "Undefined")[number - 1]
        shown = f"<ColorInterp>{colour}</ColorInterp>"
        shown = f"<Description>{BAND_NAMES[number - 1]}</Description>{shown}"
    sources = "".join(tile.source(number, grid) for tile in tiles)
    return (
        f'<VRTRasterBand dataType="Byte" band="{number}" blockXSize="{_BLOCK}"'
        f' blockYSize="{_BLOCK}">'
        f"{_items({name: f'{value:.17g}' for name, value in figures.items()})}{shown}{sources}"
        "</VRTRasterBand>"
    )


def _items(tags: Mapping[str, str]) -> str:
    items = (f"<MDI key={quoteattr(name)}>{escape(text)}</MDI>" for name, text in tags.items())
    return f"<Metadata>{''.join(items)}</Metadata>"
