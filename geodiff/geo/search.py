"""A STAC search -> rasters to read: items, the addresses of their pixels, the ground they show."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pystac

from geodiff.errors import DataError, GeodiffError, UsageError
from geodiff.geo.boxes import DEGREES, check_box, parse_crs
from geodiff.geo.catalogues import SECONDS
from geodiff.geo.intervals import interval, told_interval, utc
from geodiff.geo.provenance import clean_href, is_remote, plain
from geodiff.geo.signing import check_href
from geodiff.geo.stac_assets import Told, assets_of, colours, outline, told_raster
from geodiff.geo.stac_items import (
    RefusedError,
    Unreadable,
    Unusable,
    one_line,
    read_items,
    span,
    unreadable,
)

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

MOST = 10_000
"""Items that a search may find."""


@dataclass(frozen=True)
class Search:
    """What to look for. ``bbox`` is west, south, east, north in WGS84 degrees.

    ``datetime`` is a date, a year or an interval A/B with .. for an open end; ``asset`` names the
    asset with the pixels, or three assets of one band each between commas. Raises UsageError where
    the box or the interval make no sense.
    """

    url: str
    collections: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    datetime: str | None = None
    asset: str | None = None
    max_items: int | None = None
    timeout: float = SECONDS  # seconds that a server has for an answer
    any_href: bool = False  # take also addresses that a remote catalogue should not give

    def __post_init__(self) -> None:
        if self.bbox is not None:
            check_box(self.bbox, parse_crs(DEGREES))
        interval(self.datetime)
        if self.asset is not None and self.asset.count(",") not in (0, 2):
            raise UsageError(f"asset {self.asset!r}: give one asset, or three between commas")
        if self.max_items is not None and self.max_items < 1:
            raise UsageError(f"max-items {self.max_items} must be at least 1")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"--stac-timeout {self.timeout:g} must be a number of seconds above 0")

    @property
    def remote(self) -> bool:
        """Whether the catalogue is on another computer, and what it says not to be trusted."""
        return is_remote(_whole(self.url))


@dataclass(frozen=True)
class Found:
    """One item: its name, collection, date and the addresses of its pixels, not signed.

    ``hrefs`` is one raster, or three of which each gives its first band. ``footprint`` is the
    ground it shows in WGS84 degrees, if it tells; ``believed`` is whether its projection fields
    make sense and agree with its geometry.
    """

    name: str
    hrefs: tuple[str, ...]
    datetime: str | None
    bands: tuple[int, int, int] | None
    collection: str = ""
    link: str = ""  # address of the item itself, else of its pixels
    updated: str = ""
    footprint: BaseGeometry | None = field(default=None, compare=False, repr=False)
    believed: bool = True
    raster: Told | None = field(default=None, compare=False, repr=False)  # what it says of it


def search(query: Search, left_out: list[Unusable] | None = None) -> list[Found]:
    """The items of an API, or of a static catalogue that is walked, ordered by collection and id.

    Raises DataError, in one line, where the address cannot be read, nothing is found, or an item
    cannot be used: it is no item, has no asset that looks like an image in colour, or one whose
    address is refused. Given a list ``left_out``, such items are named there as long as others can
    be used.
    """
    left: list[Unusable] = []
    items = listed(
        query,
        None if left_out is None else lambda facts, error: left.append(unreadable(facts, error)),
    )
    found: list[Found] = []
    for item in items:
        try:
            found.append(found_of(item, assets_of(item, query.asset), query))
        except DataError as error:
            if left_out is None:
                raise
            left.append(Unusable(plain(item.id), str(error)))
    if not found:
        raise none_usable(query, left) if left else none_found(query)
    if left_out is not None:
        left_out += left
    return found


def listed(query: Search, unreadable: Unreadable | None = None) -> list[pystac.Item]:
    """All items that match, ordered by collection and id; DataError as ``search``, but for none.

    ``unreadable`` takes what is given that is no item; without it the search fails.
    """
    try:
        items = list(islice(_items(query, unreadable), query.max_items))
    except GeodiffError:
        raise
    except Exception as error:  # the clients raise a dozen kinds for what no catalogue is
        told = one_line(error)
        if not isinstance(error, RefusedError):
            told = f"{told}: check the address, the collection and the network"
        raise DataError(f"the STAC search at {_address(query)} failed: {told}") from error
    return sorted(items, key=lambda item: (item.collection_id or "", item.id))


def none_found(query: Search) -> DataError:
    """A search without a result."""
    return DataError(
        f"the STAC search at {_address(query)} found no item for {_told(query)}: check "
        "--collection, --bbox (degrees: west, south, east, north) and --datetime"
    )


def none_usable(query: Search, left: Sequence[Unusable]) -> DataError:
    """A search with items of which none can be used."""
    which = "one item, which" if len(left) == 1 else f"{len(left)} items, none of which"
    can = "cannot" if len(left) == 1 else "can"
    return DataError(
        f"the STAC search at {_address(query)} found {which} {can} be used: {left[0].name}: "
        f"{left[0].reason}"
    )


def _items(query: Search, unreadable: Unreadable | None) -> Iterator[pystac.Item]:
    """Matching items; what the server was asked is checked again, for those that ignore it."""
    from geodiff.geo.stac_client import open_catalogue  # takes a second
    from geodiff.geo.stac_pages import can_search, found_by
    from geodiff.geo.stac_walk import walk

    seen: set[tuple[str | None, str]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what a catalogue says of itself
        reader, root = open_catalogue(_whole(query.url), query.timeout)
        if can_search(root):
            times = told_interval(query.datetime)
            asked = found_by(reader, root, query.url, query.collections, query.bbox, times)
        else:
            asked = walk(reader, _whole(query.url), root, unreadable)
        for item in read_items(_some(asked, query), unreadable):
            key = item.collection_id, item.id
            if key not in seen and _matches(item, query):
                seen.add(key)
                yield item


def _some(asked: Iterable[Any], query: Search) -> Iterator[Any]:
    """What a catalogue gives, unless that is too much."""
    for number, facts in enumerate(asked, start=1):
        if number > MOST:
            raise DataError(
                f"the STAC search at {_address(query)} has more than {MOST} items for "
                f"{_told(query)}: give a smaller box or a shorter --datetime"
            )
        yield facts


def _matches(item: pystac.Item, query: Search) -> bool:
    if query.collections and item.collection_id not in query.collections:
        return False
    if query.bbox is not None and item.bbox is not None:
        corners = item.bbox if len(item.bbox) == 4 else [*item.bbox[:2], *item.bbox[3:5]]
        west, south, east, north = query.bbox
        if corners[0] > east or corners[2] < west or corners[1] > north or corners[3] < south:
            return False
    first, last = interval(query.datetime)
    shown = span(item)
    return query.datetime is None if shown is None else shown[0] <= last and shown[1] >= first


def found_of(item: pystac.Item, names: list[str], query: Search) -> Found:
    """The item and its assets of these names."""
    assets = item.assets
    whole = [assets[name].get_absolute_href() or assets[name].href for name in names]
    if query.remote and not query.any_href:
        for name, href in zip(names, whole, strict=True):
            check_href(item.id, assets[name].href, href)
    hrefs = tuple(map(_whole, whole))
    moment = item.datetime or item.common_metadata.start_datetime
    footprint, believed = outline(item, assets[names[0]])
    return Found(
        name=item.id,
        hrefs=hrefs,
        datetime=utc(moment).isoformat() if moment else None,
        bands=colours(assets[names[0]]) if len(names) == 1 else None,
        collection=item.collection_id or "",
        link=item.get_self_href() or hrefs[0],
        updated=str(item.properties.get("updated", "")),
        footprint=footprint,
        believed=believed,
        raster=told_raster(item, assets[names[0]]) if believed else None,
    )


def _whole(href: str) -> str:
    """An address that holds in every folder."""
    if href.startswith("file://"):
        href = unquote(href.removeprefix("file://"))
    return href if is_remote(href) else os.path.abspath(href)


def _address(query: Search) -> str:
    return plain(clean_href(query.url))


def _told(query: Search) -> str:
    parts = [", ".join(query.collections) or "any collection"]
    if query.bbox is not None:
        parts.append("bbox " + ",".join(f"{edge:g}" for edge in query.bbox))
    if query.datetime is not None:
        parts.append(query.datetime)
    return ", ".join(parts)
