"""Handing items to a STAC API through its transaction extension."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import requests
from requests.exceptions import RequestException

from geodiff.errors import OutputError
from geodiff.geo.provenance import clean_href, plain
from geodiff.geo.stac_client import be_patient, reason
from geodiff.geo.static_collection import Document

TOKEN = "GEODIFF_PUBLISH_TOKEN"
"""Environment variable with a bearer token, for APIs that want one."""

CONFLICT = 409

OWN_FAULT = (400, 409, 413, 415, 422)
"""Answers that are about one document; others may be taken."""


class NotTakenError(OutputError):
    """An API that does not take one document, as it is."""


class Transactions:
    """A STAC API that takes collections and items.

    https://github.com/stac-api-extensions/transaction. A request is made again after answers that
    say "later". Raises OutputError, in one line, for anything else that is not a success.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout
        self.session = requests.Session()
        be_patient(self.session)
        if token := os.environ.get(TOKEN):
            self.session.headers["Authorization"] = f"Bearer {token}"

    def put_collection(self, collection: Document) -> None:
        """Create the collection, or replace it where there is one."""
        name = quote(collection["id"], safe="")
        self.put("/collections", f"/collections/{name}", collection)

    def put_item(self, item: Document) -> None:
        """Create an item in its collection, or replace it where there is one."""
        items = f"/collections/{quote(item['collection'], safe='')}/items"
        self.put(items, f"{items}/{quote(item['id'], safe='')}", item)

    def put(self, parent: str, own: str, document: Document) -> None:
        """POST to ``parent``; where that says it exists, PUT to ``own``."""
        answer = self.ask("POST", parent, document)
        if answer.status_code == CONFLICT:
            answer = self.ask("PUT", own, document)
        where = clean_href(self.url)
        if not answer.ok:
            told = " ".join(plain(answer.text).split())[:160]
            advice = {
                401: f"it wants credentials ({TOKEN}=...)",
                403: f"it wants other credentials ({TOKEN}=...)",
                404: "check the address, which is that of the API itself",
                405: "it takes no items: it lacks the transaction extension",
            }.get(answer.status_code, told or "it does not say why")
            kind = NotTakenError if answer.status_code in OWN_FAULT else OutputError
            raise kind(f"{where} does not take {document['id']} ({answer.status_code}): {advice}")
        if answer.text.lstrip()[:1] == "<":
            raise OutputError(
                f"{where} answers with a web page instead of taking {document['id']}: check the "
                f"address, which is that of the API itself, and the credentials ({TOKEN}=...)"
            )

    def ask(self, method: str, path: str, document: Document) -> requests.Response:
        """One request with its retries."""
        try:
            return self.session.request(
                method, f"{self.url}{path}", json=document, timeout=self.timeout
            )
        except RequestException as error:
            raise OutputError(
                f"nothing can be published at {clean_href(self.url)} ({reason(error)}): check the "
                "address and the network"
            ) from error


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
) -> Iterator[tuple[str, NotTakenError | None]]:
    """Hand over the collection, then its items; yields the id of each, and why it was not taken.

    Raises OutputError for what befalls all of them.
    """
    api.put_collection(unplaced(collection))
    for item in items:
        refused = None
        try:
            api.put_item(absolute(item, base))
        except NotTakenError as error:
            refused = error
        yield str(item["id"]), refused
