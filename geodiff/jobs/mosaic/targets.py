"""Grids of mosaics that go by saved embeddings, and of those that lie on no map."""

from __future__ import annotations

from affine import Affine
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import parse_crs
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.jobs.mosaic.grids import snap
from geodiff.jobs.mosaic.sources import Saved, saved_embeddings
from geodiff.jobs.request import SynthesizeRequest
from geodiff.window import Window


def sized_grid(request: SynthesizeRequest) -> PixelGrid:
    """A grid of the request's size in pixel coordinates, without a CRS.

    Its corner is that of the reference or of the saved embeddings, else row 0, column 0. Raises
    DataError for a source that has a CRS.
    """
    assert request.size is not None
    width, height = request.size
    if request.reference:
        own, name = raster_grid(request.reference), request.reference
    elif request.embeddings is not None:
        own, name = grid_of_embeddings(request), request.embeddings_name
    else:
        return plain_grid(height, width)
    if own.crs is not None:
        raise DataError(
            f"{name} is in {own.crs_name}, and --size is for pixel coordinates, without a CRS: "
            "give --bbox W,S,E,N instead"
        )
    return own.crop(Window(own.row, own.col, height, width))


def plain_grid(height: int, width: int) -> PixelGrid:
    """The grid of an image that lies nowhere: pixel coordinates that begin at its corner."""
    return PixelGrid(GeoBox((height, width), Affine.identity(), None), 0, 0)


def grid_of_embeddings(request: SynthesizeRequest) -> PixelGrid:
    """The pixels that the grid was made for, else all under its cells; or those of the box.

    The box is laid out in the cells' CRS and resolution unless the request names others.
    """
    saved: Saved = saved_embeddings(request)
    own = saved.grid
    affine = own.geobox.affine
    pixel = affine.a / saved.cell
    if request.bbox is not None:
        if own.crs is None:
            raise UsageError(
                f"{request.embeddings_name} has no CRS, so a box cannot be found in it: leave out "
                "--bbox"
            )
        if request.crs is not None and request.res is None and parse_crs(request.crs) != own.crs:
            raise UsageError(
                f"--crs {request.crs} differs from the CRS of {request.embeddings_name}: give "
                "--res as well"
            )
        res = snap(pixel) if request.res is None else request.res
        return box_grid(request.bbox, request.bbox_crs, request.crs or str(own.crs), res)
    under = own.pixel_grid(saved.cell)
    return under if saved.pixels is None else under.crop(saved.pixels)
