"""Grids of what is made from a raster or a box, where the request leaves something open."""

from __future__ import annotations

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import parse_crs
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.placement import raster_placement
from geodiff.models.bundle import Model


def reference_grid(
    path: str,
    bbox: tuple[float, float, float, float] | None,
    bbox_crs: str | None,
    crs: str | None,
    res: float | None,
) -> PixelGrid:
    """The raster's own grid to the bit; with ``bbox`` a snapped one in its CRS and resolution.

    With a box the raster may also be rotated or south-up.
    """
    if bbox is None:
        return raster_grid(path)
    own = raster_placement(path)
    if own.crs is None:
        raise DataError(
            f"{path} has no CRS, so a box on the map cannot be found in it: leave out --bbox "
            "(the mosaic then keeps the raster's pixel grid) or give the raster a CRS"
        )
    if crs is not None and res is None and parse_crs(crs) != own.crs:
        raise UsageError(f"--crs {crs} differs from the CRS of {path}: give --res as well")
    pixel = own.pixel if res is None else res
    return box_grid(bbox, bbox_crs, crs or str(own.crs), snap(pixel))


def snap(res: float) -> float:
    """A resolution without the float noise of some sources: 0.5999999999999943 becomes 0.6."""
    rounded = float(f"{res:.6g}")
    return rounded if abs(rounded - res) < 1e-12 * res else res


def default_res(crs: str | None, model: Model) -> float:
    """The model's own pixel size in units of the output CRS; refuses degrees."""
    if crs is None:
        return model.gsd
    units = parse_crs(crs).proj
    if units.is_geographic:
        raise UsageError(
            f"--crs {crs} counts in degrees: give --res in degrees as well, "
            f"for example --res {model.gsd / 111_320:.7f}"
        )
    return float(model.gsd / units.axis_info[0].unit_conversion_factor)
