"""JSON of a catalogue -> items that can be worked with, and what is wrong with the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pystac

from geodiff.geo.intervals import utc
from geodiff.geo.provenance import plain


class RefusedError(Exception):
    """What a catalogue did wrong, and what to do, as the end of a sentence about it."""


class DocumentError(RefusedError):
    """The same of one document that is not there or is no JSON; others may be fine."""


DATES = ("datetime", "start_datetime", "end_datetime")

Unreadable = Callable[[Any, BaseException], None]
"""Takes what a catalogue gives that is no item, and the reason."""


@dataclass(frozen=True)
class Unusable:
    """An item that cannot be used, as it is called, and why in one line."""

    name: str
    reason: str


def unreadable(facts: Any, error: BaseException) -> Unusable:
    """Something that is no item, or is not there."""
    name = facts.get("id") if isinstance(facts, dict) else None
    shown = plain(name)[:200] if isinstance(name, str) and plain(name) else "an item without an id"
    if isinstance(error, DocumentError):
        return Unusable(shown, f"it cannot be read: {one_line(error)}"[:300])
    told = one_line(error) if type(error) is TypeError else f"{type(error).__name__}: {error}"
    return Unusable(shown, f"it is no STAC item ({' '.join(told.split())})"[:300])


def one_line(error: BaseException) -> str:
    """What an error says, on one line and not too long."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def read_items(answer: Iterable[Any], unreadable: Unreadable | None) -> Iterator[pystac.Item]:
    """The items of an answer, alone: pystac would follow their links, each with a request.

    They have an id, a bbox of numbers or none, dates that are dates, and assets whose addresses are
    text, empty where there is none. Raises what pystac raises for something else, unless
    ``unreadable`` takes it.
    """
    for facts in answer:
        try:
            yield read_item(facts)
        except Exception as error:  # whatever comes of text that is no item
            if unreadable is None:
                raise
            unreadable(facts, error)


def read_item(facts: Any) -> pystac.Item:
    """One item of ``read_items``."""
    if not isinstance(facts, dict):
        raise TypeError("it is no object")
    links = [link for link in facts.get("links") or [] if link.get("rel") == "self"]
    assets = {
        name: {**asset, "href": href if isinstance(href := asset.get("href"), str) else ""}
        for name, asset in (facts.get("assets") or {}).items()
    }
    for name in DATES:
        check_date(name, (facts.get("properties") or {}).get(name))
    item = pystac.Item.from_dict({**facts, "links": links, "assets": assets})
    if not (isinstance(item.id, str) and item.id):
        raise TypeError("it has no id")
    if item.bbox is not None:
        item.bbox = [float(edge) for edge in item.bbox]
        if len(item.bbox) not in (4, 6) or not all(map(math.isfinite, item.bbox)):
            raise TypeError("its bbox is no box")
    return item


def check_date(name: str, value: Any) -> None:
    """Raises TypeError for a field that is there and is no moment between the years 1 and 9999."""
    try:
        if value is not None:
            utc(pystac.utils.str_to_datetime(value))
    except Exception as error:  # ValueError, OverflowError, AttributeError, ..
        raise TypeError(f"its {name} {str(value)[:40]!r} is no date") from error


def span(item: pystac.Item) -> tuple[datetime, datetime] | None:
    """First and last moment of an item in UTC; None without."""
    begin, end = (item.datetime,) * 2
    if begin is None:
        begin, end = item.common_metadata.start_datetime, item.common_metadata.end_datetime
    return None if begin is None or end is None else (utc(begin), utc(end))
