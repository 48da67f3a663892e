"""A STAC collection that a mosaic goes by: what is asked for, and the images that are found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from geodiff.errors import DataError, UsageError
from geodiff.geo.catalogues import KNOWN, NAIP
from geodiff.geo.catalogues import ORDERS as ORDERS
from geodiff.geo.catalogues import SECONDS as SECONDS
from geodiff.window import Window

if TYPE_CHECKING:
    from geodiff.geo.grid import PixelGrid
    from geodiff.geo.search import Found, Search
    from geodiff.geo.stac_items import Unusable
    from geodiff.geo.stac_source import StacSource

ALONE = {
    "datetime": None, "asset": None, "stac_order": ORDERS[0], "stac_timeout": SECONDS,
    "stac_requester_pays": False, "stac_any_href": False,
}  # fmt: skip
"""Options that say nothing without a catalogue, and what they are by default."""


@dataclass(frozen=True)
class Catalogue:
    """Which images of which catalogue, and how they are read. Raises UsageError for nonsense."""

    url: str  # address of an API or a static catalogue, a path, or a name in KNOWN
    collections: tuple[str, ...] = ()
    datetime: str | None = None  # a date or A/B; None: all
    asset: str | None = None  # that with the pixels, or three between commas; None: by bands
    order: str = ORDERS[0]
    timeout: float = SECONDS
    requester_pays: bool = False
    any_href: bool = False
    bands: tuple[int, int, int] | None = None
    scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.url in KNOWN:
            object.__setattr__(self, "url", KNOWN[self.url])
            object.__setattr__(self, "collections", self.collections or (NAIP,))
        elif not self.url.strip():
            raise UsageError(f"--stac is empty: give {', '.join(KNOWN)}, or an address")
        elif "://" not in self.url and not self.url.endswith(".json"):
            raise UsageError(
                f"--stac {self.url} is no catalogue: give {', '.join(KNOWN)}, the address of an "
                "API (https://...) or a catalogue's file (.json)"
            )
        if not self.collections:
            raise UsageError(f"--stac {self.url} has many collections: name one with --collection")
        if self.order not in ORDERS:
            raise UsageError(f"--stac-order {self.order} is unknown; choose {', '.join(ORDERS)}")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"--stac-timeout {self.timeout:g} must be a number of seconds above 0")

    @classmethod
    def of(cls, request: Any) -> Catalogue | None:
        """What a request with options of that name asks for; None for one without a catalogue.

        A collection without a catalogue is one of the Planetary Computer. Raises UsageError for
        options of a catalogue where none is named.
        """
        if request.stac is None and not request.collection:
            idle = [name for name, usual in ALONE.items() if getattr(request, name) != usual]
            if idle:
                option = f"--{idle[0].replace('_', '-')}"
                raise UsageError(f"{option} describes a STAC search: give --stac, or leave it out")
            return None
        return cls(
            url=next(iter(KNOWN)) if request.stac is None else request.stac,
            collections=request.collection,
            datetime=request.datetime,
            asset=request.asset,
            order=request.stac_order,
            timeout=request.stac_timeout,
            requester_pays=request.stac_requester_pays,
            any_href=request.stac_any_href,
            bands=request.bands,
            scale=request.scale,
        )

    @property
    def words(self) -> str:
        """What it is called."""
        from geodiff.geo.provenance import clean_href

        where = urlsplit(clean_href(self.url)).netloc or self.url
        return f"STAC collection {', '.join(self.collections)} of {where}"

    def search(self, box: tuple[float, float, float, float] | None = None) -> Search:
        """The search in a box of WGS84 degrees."""
        from geodiff.geo.search import Search

        return Search(
            self.url, self.collections, box, self.datetime, self.asset,
            timeout=self.timeout, any_href=self.any_href,
        )  # fmt: skip

    def check(self) -> None:
        """Raises UsageError for what can be refused before anything is asked."""
        self.search()

    def open(self, grid: PixelGrid, region: Window) -> Images:
        """Find the images that meet ``region``, pixels of the lattice, and look into the first.

        Raises DataError for a catalogue that gives none, or none that can be read.
        """
        from geodiff.geo.search import search
        from geodiff.geo.stac_items import Unusable
        from geodiff.geo.stac_order import arrange, meeting
        from geodiff.geo.stac_pixels import Reading
        from geodiff.geo.stac_source import Region, StacSource

        if grid.crs is None:
            raise DataError(f"the grid has no CRS, so nothing of the {self.words} can be placed")
        place, left_out = grid.crop(region), list[Unusable]()
        query = self.search(one_side(place.bounds_lonlat(), grid.bounds_lonlat()))
        near = meeting(search(query, left_out), place)
        if not near:
            raise DataError(
                f"no item of the {self.words} shows the box or what is near: check --bbox, "
                "--bbox-crs and --datetime"
            )
        items = arrange(near, self.order, grid)
        how = Reading(self.bands, self.scale, self.timeout, self.requester_pays, self.any_href)
        source = StacSource(self.words, items, Region(region), how)
        source.probe()
        notes = tuple(self.notes(near, items, left_out))
        return Images(source, self.order, len(meeting(items, grid)), notes)

    def notes(
        self, near: list[Found], items: tuple[Found, ...], left_out: list[Unusable]
    ) -> list[str]:
        """What the user should know of the items that are not as they should be."""
        told = []
        if left_out:
            names = some([item.name for item in left_out])
            told.append(f"{names} cannot be used, left out; the first: {left_out[0].reason}")
        if wrong := [item.name for item in items if not item.believed]:
            told.append(
                f"{some(wrong)} with projection fields that make no sense or contradict the "
                "geometry: placed by the rasters themselves"
            )
        if undated := [item.name for item in items if not item.datetime]:
            told.append(f"{some(undated)} without a date: below all others")
        if len(items) < len(near):
            year = (items[0].datetime or "")[:4]
            told.append(
                f"{len(near) - len(items)} items of other years than {year} are left out; the year "
                f"depends on the box, so give --datetime {year} for mosaics that are to join"
            )
        return told


@dataclass(frozen=True)
class Images:
    """The images of a catalogue, and what to say of them."""

    source: StacSource
    order: str
    inside: int  # how many of them show a part of the mosaic itself
    notes: tuple[str, ...]

    @property
    def words(self) -> str:
        """The source with its items and dates."""
        from geodiff.geo.stac_order import told

        return f"{self.source.path}: {told(self.source.items, self.order)}"

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-ready facts for a plan."""
        from geodiff.geo.stac_order import day

        days = sorted(filter(None, map(day, self.source.items)))
        years = Counter(one[:4] for one in days)
        facts: dict[str, Any] = {"items": len(self.source.items), "items in the box": self.inside}
        if days:
            facts["dates"] = f"{days[0]} to {days[-1]}"
        return facts | {f"items of {year}": count for year, count in sorted(years.items())}


Box = tuple[float, float, float, float]


def one_side(box: Box | None, inner: Box | None) -> Box | None:
    """A box of degrees cut at the antimeridian where it crosses it: the side of ``inner``."""
    if box is None or inner is None or box[0] <= box[2]:
        return box
    west, south, east, north = box
    return (west, south, 180.0, north) if inner[0] > 0 else (-180.0, south, east, north)


def some(names: list[str]) -> str:
    """How many items, and the first of them: ``2 items (a, b)``."""
    first = ", ".join(names[:3]) + (", .." if len(names) > 3 else "")
    return f"{len(names)} item{'s' * (len(names) > 1)} ({first})"
