"""A STAC API that takes collections and items: requests, retries, and what its answers mean."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.exceptions import RequestException

from geodiff.errors import OutputError
from geodiff.geo.provenance import clean_href, plain
from geodiff.geo.signing import RETRIES
from geodiff.geo.stac_client import LATER, PAGE, be_patient, reason
from geodiff.geo.static_collection import Document

TOKEN = "GEODIFF_PUBLISH_TOKEN"
"""Environment variable with a bearer token, for APIs that want one."""

CONFLICT = 409

OWN_FAULT = (400, 408, 409, 413, 415, 422, 429)
"""Answers that may be about one document, as may all from 500 on; others may be taken."""

TURNED = (301, 302, 303)
"""Answers after which a request is made again elsewhere, without what it should hand over."""


class NotTakenError(OutputError):
    """An API that does not take one document, as it is."""

    failed = False  # whether the server failed, and did not refuse


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

    def greet(self) -> str | None:
        """See that an API is there; a note where it does not say that it takes items."""
        answer, where = self.ask("GET", ""), clean_href(self.url)
        if urlsplit(answer.url)[:2] != urlsplit(self.url)[:2]:
            raise led_on(where, answer)
        if not answer.ok:
            raise refusal(answer, f"{where} does not let itself be asked")
        classes = object_of(answer).get("conformsTo")
        if not isinstance(classes, list):
            raise OutputError(
                f"{where} is no STAC API, it does not say what it conforms to: check the address"
            )
        if any("/transaction" in str(one) for one in classes):
            return None
        return f"{where} does not say that it takes items (transaction extension)"

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
        if any(one.status_code in TURNED for one in answer.history):
            raise led_on(where, answer)
        if not answer.ok:
            raise refusal(answer, f"{where} does not take {document['id']}")
        if answer.text.lstrip()[:1] == "<":
            raise OutputError(
                f"{where} answers with a web page instead of taking {document['id']}: check the "
                f"address, which is that of the API itself, and the credentials ({TOKEN}=...)"
            )

    def held(self, collection: str, fact: str) -> dict[str, Any]:
        """Ids of the items of a collection, as far as the API tells, and a property of each."""
        found, path = dict[str, Any](), f"/collections/{quote(collection, safe='')}/items"
        where: str | None = f"{self.url}{path}?limit={PAGE}"
        while where is not None:
            page = object_of(self.ask("GET", where.removeprefix(self.url)))
            some = facts_of(page, fact)
            if some.keys() <= found.keys():  # the end, no list of items, or a circle
                break
            found |= some
            where = self.after(page)
        return found

    def after(self, page: Document) -> str | None:
        """Where the next page is; None on the last, and for another server (we send a token)."""
        links = page.get("links")
        for link in links if isinstance(links, list) else []:
            if isinstance(link, dict) and link.get("rel") == "next":
                where = urljoin(f"{self.url}/", str(link.get("href")))
                return where if where.startswith(f"{self.url}/") else None
        return None

    def ask(self, method: str, path: str, document: Document | None = None) -> requests.Response:
        """One request with its retries; ``path`` counts from the API's address."""
        try:
            return self.session.request(
                method, f"{self.url}{path}", json=document, timeout=self.timeout
            )
        except RequestException as error:
            raise OutputError(
                f"nothing can be published at {clean_href(self.url)} ({reason(error)}): check the "
                "address and the network"
            ) from error


def refusal(answer: requests.Response, what: str) -> OutputError:
    """The error for an answer that is no success: about one document, or about all."""
    code = answer.status_code
    said = " ".join(plain(answer.text).split())[:160] or "it does not say why"
    if answer.text.lstrip()[:1] == "<":
        said = "it answers with a web page"
    told = {
        401: f"it wants credentials ({TOKEN}=...)",
        403: f"it wants other credentials ({TOKEN}=...)",
        404: "check the address, which is that of the API itself",
        405: "it takes no items: it lacks the transaction extension",
    }.get(code, said)
    if code in LATER:
        told += f", also after {RETRIES} more attempts"
    if code not in OWN_FAULT and code < 500:
        return OutputError(f"{what} ({code}): {told}")
    error = NotTakenError(f"{what} ({code}): {told}")
    error.failed = code >= 500 or code in (408, 429)
    return error


def led_on(where: str, answer: requests.Response) -> OutputError:
    """The error for an API that is elsewhere: a document would be lost on the way."""
    return OutputError(
        f"{where} leads on to {clean_href(answer.url)}: give the address that it leads to"
    )


def object_of(answer: requests.Response) -> Document:
    """The JSON object of an answer; empty for any other."""
    try:
        found = answer.json() if answer.ok else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def facts_of(page: Document, fact: str) -> dict[str, Any]:
    """Ids of the items on a page, and a property of each."""
    features, found = page.get("features"), dict[str, Any]()
    for one in features if isinstance(features, list) else []:
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            facts = one.get("properties")
            found[one["id"]] = facts.get(fact) if isinstance(facts, dict) else None
    return found
