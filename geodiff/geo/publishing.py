"""Handing the items of a folder to a STAC API, and only those that it lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from geodiff.errors import OutputError
from geodiff.geo.static_collection import Document
from geodiff.geo.transactions import NotTakenError, Transactions

FAILURES = 5
"""Items in a row over which an API may fail before it counts as down."""

SEAL = "geodiff:published"
"""Property of published items: the digest of all else in them, which tells what is there."""


@dataclass(frozen=True)
class Handed:
    """What came of an item: taken now, there already, or not taken."""

    name: str
    there: bool = False  # as it is, from an earlier time
    refused: NotTakenError | None = None


def sealed(item: Document) -> Document:
    """The item with the digest of itself (a multihash of SHA-256) among its properties."""
    text = json.dumps(item, sort_keys=True, ensure_ascii=False)
    seal = f"1220{sha256(text.encode()).hexdigest()}"
    return {**item, "properties": {**item["properties"], SEAL: seal}}


def absolute(item: Document, base: str) -> Document:
    """An item of a folder that is served at ``base``, with addresses that hold anywhere.

    Links to the folder's own structure are left to the API.
    """
    here = f"{base.rstrip('/')}/items/"
    structure = ("root", "parent", "collection", "self")
    return {
        **item,
        "links": [joined(link, here) for link in item["links"] if link["rel"] not in structure],
        "assets": {name: joined(asset, here) for name, asset in item["assets"].items()},
    }


def joined(entry: Mapping[str, Any], here: str) -> dict[str, Any]:
    """A link or asset with an absolute address; ``here`` is the address of its folder."""
    href = str(entry["href"])
    if "://" in href or href.startswith("/"):
        return dict(entry)
    parts = here.rstrip("/").split("/")
    for part in href.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return {**entry, "href": "/".join(parts)}


def unplaced(collection: Document) -> Document:
    """A collection without links to files: an API makes its own."""
    return {**collection, "links": []}


def publish(
    api: Transactions, collection: Document, items: Iterator[Document], base: str
) -> Iterator[Handed]:
    """Hand over the collection, then those of its items that are not there as they are.

    One that is not taken, also after all retries, keeps no other away. Raises OutputError for what
    befalls all of them, and for an API that fails over FAILURES items in a row.
    """
    api.put_collection(unplaced(collection))
    there, row = api.held(collection["id"], SEAL), 0
    for item in items:
        name, document = str(item["id"]), sealed(absolute(item, base))
        if there.get(name) == document["properties"][SEAL]:
            yield Handed(name, there=True)
            continue
        try:
            api.put_item(document)
        except NotTakenError as error:
            yield Handed(name, refused=error)
            row = row + 1 if error.failed else 0
            if row == FAILURES:
                raise OutputError(f"{error}. So it went with {row} items in a row") from error
        else:
            yield Handed(name)
            row = 0
