"""The mosaics of a catalogue as one virtual raster for each CRS and pixel size, for GDAL, QGIS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from odc.geo import CRS
from rasterio.crs import CRS as RasterCRS

from geodiff.geo.mosaic import BAND_NAMES
from geodiff.geo.static_collection import ITEMS, Document

_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class Placed:
    """A north-up raster of three bands of bytes, as its item tells."""

    name: str  # of the file, from where the virtual raster stands
    crs: str
    pixel: tuple[float, float]  # width, and height below 0
    corner: tuple[float, float]  # x, y of its top-left
    shape: tuple[int, int]  # height, width

    @property
    def lattice(self) -> tuple[str, float, float]:
        """What rasters of one virtual raster share."""
        return self.crs, *self.pixel


def placed(items: Iterable[Document]) -> list[Placed]:
    """The rasters of items that have a place."""
    found = []
    for item in items:
        fields: dict[str, Any] = item["properties"]
        crs = fields.get("proj:code") or fields.get("proj:wkt2")
        if crs and "proj:transform" in fields:
            a, _, c, _, e, f = fields["proj:transform"][:6]
            height, width = fields["proj:shape"]
            name = f"{ITEMS}/{item['id']}.tif"
            found.append(Placed(name, crs, (a, e), (c, f), (height, width)))
    return found


def virtual_rasters(items: Iterable[Document], name: str) -> dict[str, str]:
    """Names of files, and the XML to write into them.

    ``name.vrt`` where all rasters share a CRS and a pixel size, else ``name-EPSG_26911.vrt``, one
    for each; with several pixel sizes in a CRS these are numbered. Later items lie on top.
    """
    groups: dict[tuple[str, float, float], list[Placed]] = {}
    for raster in placed(items):
        groups.setdefault(raster.lattice, []).append(raster)
    files: dict[str, str] = {}
    for (crs, *_), rasters in groups.items():
        file = name
        if len(groups) > 1:
            file = f"{name}-{crs.replace(':', '_') if len(crs) < 20 else 'other'}"
            same = sum(known.startswith(file) for known in files)
            file += f"-{same + 1}" if same else ""
        files[f"{file}.vrt"] = virtual(rasters)
    return files


def virtual(rasters: Sequence[Placed]) -> str:
    """A GDAL virtual raster of rasters on one lattice; 0 where none lies, with a mask for it.

    https://gdal.org/en/stable/drivers/raster/vrt.html
    """
    first = rasters[0]
    width, height = first.pixel
    left = min(raster.corner[0] for raster in rasters)
    top = max(raster.corner[1] for raster in rasters)
    places = [
        (round((raster.corner[1] - top) / height), round((raster.corner[0] - left) / width))
        for raster in rasters
    ]
    rows = max(row + one.shape[0] for (row, _), one in zip(places, rasters, strict=True))
    cols = max(col + one.shape[1] for (_, col), one in zip(places, rasters, strict=True))
    transform = ", ".join(repr(float(number)) for number in (left, width, 0, top, 0, height))
    wkt = RasterCRS.from_wkt(CRS(first.crs).to_wkt()).to_wkt()
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}"><Description>{BAND_NAMES[number - 1]}'
        f"</Description><ColorInterp>{_COLOURS[number - 1]}</ColorInterp>"
        + "".join(
            source(one, row, col, number) for (row, col), one in zip(places, rasters, strict=True)
        )
        + "</VRTRasterBand>"
        for number in (1, 2, 3)
    )
    mask = "".join(
        source(one, row, col, "mask,1") for (row, col), one in zip(places, rasters, strict=True)
    )
    return (
        f'<VRTDataset rasterXSize="{cols}" rasterYSize="{rows}"><SRS>{escape(wkt)}</SRS>'
        f"<GeoTransform>{transform}</GeoTransform>"
        '<Metadata><MDI key="AI_GENERATED">TRUE</MDI></Metadata>'
        f'{bands}<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>'
        "</VRTDataset>\n"
    )


def source(raster: Placed, row: int, col: int, band: int | str) -> str:
    """The XML that lays one band (or the mask) of a raster onto the virtual one."""
    height, width = raster.shape
    size = f'xSize="{width}" ySize="{height}"'
    return (
        f"<SimpleSource><SourceFilename relativeToVRT={quoteattr('1')}>{escape(raster.name)}"
        f"</SourceFilename><SourceBand>{band}</SourceBand>"
        f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="Byte"'
        f' BlockXSize="512" BlockYSize="512"/><SrcRect xOff="0" yOff="0" {size}/>'
        f'<DstRect xOff="{col}" yOff="{row}" {size}/></SimpleSource>'
    )
