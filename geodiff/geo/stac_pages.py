"""The items that a search of a STAC API gives, page by page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urljoin

import pystac

from geodiff.geo.stac_client import PAGE, Document, PatientIO
from geodiff.geo.stac_items import RefusedError

ITEM_SEARCH = re.compile(r"https://api\.stacspec\.org/v1\.0\..*/item-search")
"""How the conformance class of APIs that can be searched is called, in any version of it."""


def can_search(root: Document) -> bool:
    """Whether a catalogue is an API that can be searched: it says so, or links to its search."""
    classes = root.get("conformsTo")
    told = isinstance(classes, list) and any(ITEM_SEARCH.match(str(one)) for one in classes)
    return told or any(
        isinstance(one, dict) and one.get("rel") == "search" for one in root["links"]
    )


def found_by(
    reader: PatientIO,
    root: Document,
    url: str,
    collections: Sequence[str],
    bbox: Sequence[float] | None,
    times: str | None,
) -> Iterator[Any]:
    """What a search of an API gives, page by page; ``url`` is the API's, ``times`` an interval."""
    links = [one for one in root["links"] if isinstance(one, dict) and one.get("rel") == "search"]
    hrefs = [one["href"] for one in links if isinstance(one.get("href"), str)]
    gets = bool(links) and all(one.get("method") == "GET" for one in links)
    wanted = {"limit": PAGE, "collections": list(collections), "bbox": list(bbox or ()),
              "datetime": times}  # fmt: skip
    asked: Document = {name: value for name, value in wanted.items() if value}
    if gets:
        asked = {
            name: ",".join(map(str, value)) if isinstance(value, list) else value
            for name, value in asked.items()
        }
    where = urljoin(url, hrefs[0]) if hrefs else f"{url.rstrip('/')}/search"
    for page in pages(reader, where, "GET" if gets else "POST", asked):
        yield from page["features"]


def pages(reader: PatientIO, url: str, method: str, parameters: Document) -> Iterator[Document]:
    """The pages of a search; RefusedError for one that is none, or that came before."""
    page, known = reader.read_json(url, method=method, parameters=parameters), set[str]()
    while True:
        features = page.get("features")
        if not isinstance(features, list):
            raise RefusedError(
                "its search answers with JSON that is no list of items: check the address, "
                "which is that of the API itself"
            )
        if not features:
            return
        fresh = {name_of(one) for one in features}
        if fresh <= known:
            raise RefusedError(
                "its pages go in a circle, the link to the next one (rel next) leads to items that "
                "it gave before: tell its owner"
            )
        known |= fresh
        yield page
        if (link := next_link(page)) is None:
            return
        page = reader.read_json(link, parameters=parameters)


def name_of(feature: Any) -> str:
    """What tells an item of a page from others."""
    if isinstance(feature, dict) and isinstance(feature.get("id"), str):
        return f"{feature.get('collection')}/{feature['id']}"
    return json.dumps(feature, sort_keys=True)


def next_link(page: Document) -> pystac.Link | None:
    """The link to the next page; None on the last one. Raises RefusedError for one that is none."""
    links = page.get("links") or []
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "next":
            if not isinstance(link.get("href"), str):
                raise RefusedError("its link to the next page has no address: tell its owner")
            return pystac.Link.from_dict(link)
    return None
