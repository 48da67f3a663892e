"""How a mosaic is cut into charts: one for the whole box, or canonical ones of the lattice."""

from __future__ import annotations

from dataclasses import dataclass

from geodiff.errors import UsageError
from geodiff.geo.grid import PixelGrid
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.models.bundle import Model
from geodiff.window import Window

FARTHEST = 2**31 - 1
"""Latents from the origin of the CRS at which the noise ends."""

SINGLE_SIDE = 4096
"""Longest side in pixels that layout auto paints as one canvas."""


MOST = 200_000
"""Charts of a mosaic; of 2048 px a side they hold 840 gigapixels."""


@dataclass(frozen=True)
class Chart:
    """One unit of work, resume and distribution; windows count latents of the lattice."""

    core: Window  # what the chart gives
    canvas: Window  # what is denoised for it: the core and a halo that is thrown away

    @property
    def name(self) -> str:
        """Its position, for journals and messages."""
        return f"{self.core.row},{self.core.col}"

    def pixels(self, grid: PixelGrid, factor: int) -> Window:
        """The pixels of ``grid`` that the chart gives, on the lattice."""
        common = self.core.zoom_in(factor).intersect(grid.window)
        assert common is not None  # charts are chosen to meet the grid
        return common


def layout_of(layout: str, grid: PixelGrid, wanted: bool) -> str:
    """``auto`` decided: world beyond SINGLE_SIDE pixels a side and where it is ``wanted``."""
    if layout != "auto":
        return layout
    return "single" if max(grid.window.shape) <= SINGLE_SIDE and not wanted else "world"


def halo(model: Model, sampling: Sampling) -> int:
    """Latents around the core of a world chart: one window, and what the decoder sees."""
    return max(sampling.size, model.codec.halo or 0)


def charts(
    layout: str, grid: PixelGrid, model: Model, sampling: Sampling, side: int
) -> tuple[Chart, ...]:
    """The charts that cover ``grid``, by rows.

    ``single``: one chart whose canvas is the box with the sampling's padding. ``world``: squares
    of ``side`` pixels whose borders are at multiples of ``side`` on the lattice, each with the
    halo, so that a chart depends on its position alone and never on the box. Raises UsageError for
    more than MOST of them.
    """
    factor = model.codec.factor
    box = grid.latents(factor)
    if layout == "single":
        return (Chart(box, sampling.canvas(grid, factor)),)
    length = side // factor
    around = halo(model, sampling)
    places = box.zoom_out(length)
    if (count := places.height * places.width) > MOST:
        raise UsageError(
            f"the mosaic has {grid.window.width} x {grid.window.height} px in {count} charts, more "
            f"than {MOST}: give a smaller box, a larger --res or a larger --chart"
        )
    cores = places.zoom_in(length).tiles(length)
    return tuple(Chart(core, core.pad(around)) for core in cores)


def check_reach(parts: tuple[Chart, ...]) -> None:
    """Raises UsageError for charts outside the lattice on which there is noise."""
    for canvas in (parts[0].canvas, parts[-1].canvas):
        reach = max(-canvas.row, -canvas.col, canvas.bottom, canvas.right)
        if reach > FARTHEST:
            raise UsageError(
                f"the box lies {reach:.3g} latents from the origin of its CRS, where the lattice "
                f"ends at {FARTHEST:.3g}: give a larger --res"
            )
