"""What is embedded: a raster, or many images that are read like one."""

from __future__ import annotations

from typing import Protocol

from geodiff.geo.grid import PixelGrid
from geodiff.geo.raster import Pixels
from geodiff.window import Window


class Placed(Protocol):
    """Where imagery lies."""

    def extent_on(self, grid: PixelGrid) -> Window | None:
        """Lattice window that covers it; None where a part of it has no place there."""


class Imagery(Protocol):
    """Pixels on any grid, each a function of its lattice position alone; see ``Reference``."""

    @property
    def path(self) -> str:
        """What it is called in messages: where it was found."""

    @property
    def placement(self) -> Placed:
        """Where it lies."""

    def read(self, grid: PixelGrid, window: Window | None = None) -> Pixels:
        """Image uint8 (3, height, width) and validity bool (height, width) of a window."""
