"""The items of a static catalogue, found along its links, one document after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pystac.utils import make_absolute_href

from geodiff.geo.provenance import clean_href, is_remote, plain
from geodiff.geo.stac_client import Document, PatientIO, check_catalogue
from geodiff.geo.stac_items import DocumentError, RefusedError, Unreadable

DEEPEST = 50
"""Catalogues within each other."""

MOST = 10_000
"""Catalogues and collections that are read."""


def walk(
    reader: PatientIO, url: str, root: Document, unreadable: Unreadable | None
) -> Iterator[Document]:
    """The items of the catalogue ``root``, read from ``url``, and of those that it links to.

    Each has a link to itself, and the collection in which it was found where it names none. No
    document is read twice, so links in a circle end. ``unreadable`` takes items that are not there
    or no JSON; without it, and for catalogues, RefusedError is raised.
    """
    check_root(root, url)
    known, waiting = {url}, [(url, 0)]
    folders = 0
    while waiting:
        here, depth = waiting.pop()
        folders += 1
        if depth > DEEPEST or folders > MOST:
            raise RefusedError(
                f"its catalogues lie more than {DEEPEST} deep, or are more than {MOST}: they seem "
                f"to link to each other without an end, at {shown(here)[-150:]}: tell its owner"
            )
        folder = root if here == url else child(reader, here)
        own = folder.get("id") if folder.get("type") == "Collection" else None
        for href in linked(folder, here, "item", known):
            try:
                facts = reader.read_json(href)
            except DocumentError as error:
                if unreadable is None:
                    raise RefusedError(f"its item {shown(href)}: {error}") from error
                unreadable({"id": shown(href)}, error)
            else:
                yield {"collection": own, **facts, "links": [{"rel": "self", "href": href}]}
        waiting += [(href, depth + 1) for href in linked(folder, here, "child", known)][::-1]


def check_root(root: Document, url: str) -> None:
    """Raises RefusedError for a catalogue that leads nowhere: there is nothing to walk."""
    hrefs = {
        link.get("rel"): link.get("href") for link in root["links"][::-1] if isinstance(link, dict)
    }
    if {"item", "child"} & set(hrefs):
        return
    if "items" in hrefs:  # https://github.com/radiantearth/stac-api-spec, OGC API Features
        api = str(hrefs.get("root") or "")
        where = shown(make_absolute_href(api, url)) if api else "the part before /collections"
        raise RefusedError(
            f"it is one collection of an API: give the address of the API itself ({where}) and "
            f"--collection {plain(str(root.get('id')))}"
        )
    if isinstance(root.get("conformsTo"), list):
        raise RefusedError(
            "it is an API without item search (it links to no search): give one that has it, or "
            "the file of a static catalogue"
        )
    raise RefusedError(
        "it is a static catalogue that links to no items and no other catalogues (rel item or "
        "child): check the address, or give that of an API"
    )


def child(reader: PatientIO, href: str) -> Document:
    """A catalogue within another one."""
    try:
        facts = reader.read_json(href)
        check_catalogue(facts)
    except RefusedError as error:
        raise RefusedError(f"its catalogue {shown(href)}: {error}") from error
    return facts


def linked(folder: Document, here: str, rel: str, known: set[str]) -> list[str]:
    """Addresses of the documents behind the links of a kind; those in ``known`` are no news."""
    fresh = []
    for link in folder["links"]:
        href: Any = link.get("href") if isinstance(link, dict) and link.get("rel") == rel else None
        if isinstance(href, str) and href and href[0] != "#":
            whole = make_absolute_href(href, here)
            if is_remote(whole):
                whole = whole.partition("#")[0]
            if whole not in known:
                known.add(whole)
                fresh.append(whole)
    return fresh


def shown(href: str) -> str:
    """An address in a message."""
    return plain(clean_href(href))
