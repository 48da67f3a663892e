"""A STAC search -> rasters to read: items, their pixels' addresses, and signing of those."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import pystac
import rasterio

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import DEGREES, check_box, parse_crs
from geodiff.geo.intervals import interval, utc
from geodiff.geo.provenance import plain

RASTERS = ("tiff", "jp2")
"""Words in media types that GDAL reads as imagery."""

PREVIEWS = {"thumbnail", "overview", "metadata"}
"""Roles of assets that are not the imagery itself."""

COLOURS = ("red", "green", "blue")


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

    def __post_init__(self) -> None:
        if self.bbox is not None:
            check_box(self.bbox, parse_crs(DEGREES))
        interval(self.datetime)
        if self.asset is not None and self.asset.count(",") not in (0, 2):
            raise UsageError(f"asset {self.asset!r}: give one asset, or three between commas")
        if self.max_items is not None and self.max_items < 1:
            raise UsageError(f"max-items {self.max_items} must be at least 1")


@dataclass(frozen=True)
class Found:
    """One item: its name, collection, date and the addresses of its pixels, not signed.

    ``hrefs`` is one raster, or three of which each gives its first band.
    """

    name: str
    hrefs: tuple[str, ...]
    datetime: str | None
    bands: tuple[int, int, int] | None


def search(query: Search) -> list[Found]:
    """The items of an API, or of a static catalogue that is walked, ordered by collection and id.

    Raises DataError, in one line, where the address cannot be read, nothing is found, or an item
    has no asset that looks like an image in colour.
    """
    try:
        items = list(islice(_items(query), query.max_items))
    except Exception as error:  # the clients raise a dozen kinds for what no catalogue is
        raise DataError(
            f"the STAC search at {plain(query.url)} failed ({one_line(error)}): check the address, "
            "the collection and the network"
        ) from error
    if not items:
        raise DataError(
            f"the STAC search at {plain(query.url)} found no item for {_told(query)}: check "
            "--collection, --bbox (degrees: west, south, east, north) and --datetime"
        )
    items.sort(key=lambda item: (item.collection_id or "", item.id))
    return [_found(item, query.asset) for item in items]


def _items(query: Search) -> Iterator[pystac.Item]:
    """Matching items; what the server was asked is checked again, for those that ignore it."""
    import pystac_client  # takes a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what a catalogue says of itself
        client = pystac_client.Client.open(query.url)
        if client.conforms_to("ITEM_SEARCH"):
            asked = client.search(
                collections=list(query.collections) or None,
                bbox=query.bbox,
                datetime=query.datetime,
            )
            found: Iterator[pystac.Item] = asked.items()
        else:
            found = client.get_items(recursive=True)
        for item in found:
            if _matches(item, query):
                yield item


def _matches(item: pystac.Item, query: Search) -> bool:
    if query.collections and item.collection_id not in query.collections:
        return False
    if query.bbox is not None and item.bbox is not None:
        corners = item.bbox if len(item.bbox) == 4 else [*item.bbox[:2], *item.bbox[3:5]]
        west, south, east, north = query.bbox
        if corners[0] > east or corners[2] < west or corners[1] > north or corners[3] < south:
            return False
    first, last = interval(query.datetime)
    begin, end = (item.datetime,) * 2
    if begin is None:
        begin, end = item.common_metadata.start_datetime, item.common_metadata.end_datetime
    if begin is None or end is None:
        return query.datetime is None
    return utc(begin) <= last and utc(end) >= first


def _found(item: pystac.Item, asked: str | None) -> Found:
    """The item with the assets that hold its colours."""
    assets = item.assets
    names = asked.split(",") if asked else _choose(assets)
    missing = [name for name in names if name not in assets]
    if missing or not names:
        what = f"no asset {missing[0]!r}" if missing else "no asset that is an image in colour"
        raise DataError(
            f"the item {item.id} has {what}; it has {', '.join(assets) or 'none'}: "
            "say which with --asset NAME or --asset RED,GREEN,BLUE"
        )
    hrefs = tuple(assets[name].get_absolute_href() or assets[name].href for name in names)
    moment = item.datetime or item.common_metadata.start_datetime
    bands = colours(assets[names[0]]) if len(names) == 1 else None
    return Found(item.id, hrefs, utc(moment).isoformat() if moment else None, bands)


def _choose(assets: dict[str, pystac.Asset]) -> Sequence[str]:
    """The asset with three colours; else the one with the role data; else red, green and blue."""
    images = {
        name: asset
        for name, asset in assets.items()
        if any(word in (asset.media_type or "") for word in RASTERS)
        and not PREVIEWS & set(asset.roles or [])
    }
    coloured = [name for name, asset in images.items() if colours(asset)]
    data = [name for name, asset in images.items() if "data" in (asset.roles or [])]
    if coloured:
        return [next((name for name in coloured if name in data), coloured[0])]
    if all(colour in images for colour in COLOURS):
        return COLOURS
    plain_names = [name for name in ("visual", "image", "rgb") if name in images]
    return (plain_names or data or list(images))[:1]


def colours(asset: pystac.Asset) -> tuple[int, int, int] | None:
    """Band numbers, from 1, of red, green and blue, from ``bands`` or ``eo:bands``; else None."""
    described: list[dict[str, Any]] = (
        asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or []
    )
    names = [
        str(b.get("eo:common_name") or b.get("common_name") or b.get("name")).lower()
        for b in described
    ]
    if not all(colour in names for colour in COLOURS):
        return None
    red, green, blue = (names.index(colour) + 1 for colour in COLOURS)
    return red, green, blue


def sign(href: str) -> str:
    """The address as it can be read now: signed if it is the Planetary Computer's.

    Signatures last under an hour, so this comes right before reading. Without the package
    planetary_computer the address stays as it is.
    """
    if not (urlsplit(href).hostname or "").endswith(".blob.core.windows.net"):
        return href
    try:
        package = importlib.import_module("planetary_computer")
    except ModuleNotFoundError:
        return href
    return str(package.sign(href))


@contextmanager
def remote() -> Iterator[None]:
    """GDAL set up for rasters behind addresses: no directory listings, retries, merged requests."""
    with rasterio.Env(
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        GDAL_HTTP_MAX_RETRY=4,
        GDAL_HTTP_RETRY_DELAY=1,
        GDAL_HTTP_MERGE_CONSECUTIVE_RANGES="YES",
    ):
        yield


def one_line(error: BaseException) -> str:
    """What an error says, on one line and not too long."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _told(query: Search) -> str:
    parts = [", ".join(query.collections) or "any collection"]
    if query.bbox is not None:
        parts.append("bbox " + ",".join(f"{edge:g}" for edge in query.bbox))
    if query.datetime is not None:
        parts.append(query.datetime)
    return ", ".join(parts)
