"""Talking to STAC servers with patience and with limits: retries, time-outs, sizes of answers."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import Any

import pystac
from pystac_client.stac_api_io import StacApiIO
from requests import Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException, Timeout
from urllib3 import BaseHTTPResponse, Retry

from geodiff.geo.provenance import clean_href, is_remote, plain
from geodiff.geo.signing import RETRIES
from geodiff.geo.stac_items import DocumentError, RefusedError

Document = dict[str, Any]
"""JSON as a catalogue has it."""

LATER = (429, 500, 502, 503, 504)
"""HTTP answers after which it is worth to ask again."""

BACKOFF = 0.5
"""Seconds: the attempts come after 0, 2, 4 and 8 times as many."""

LONGEST_WAIT = 30.0
"""Seconds that a server may ask to wait (Retry-After) before the next attempt."""

LARGEST = 64 * 2**20
"""Bytes of one answer: some hundred times a page of items."""

PAGE = 100
"""Items that are asked for at once."""


class Waiting(Retry):
    """urllib3's retries, for every kind of request and with a bounded Retry-After."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds the server asks for, at most LONGEST_WAIT."""
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, LONGEST_WAIT)


def be_patient(session: Session) -> None:
    """Make a session ask again, later and later, after answers that say so."""
    retries = Waiting(
        RETRIES,
        backoff_factor=BACKOFF,
        status_forcelist=LATER,
        allowed_methods=None,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))


class PatientIO(StacApiIO):
    """How catalogues are read. ``remote`` ones may not lead to files of this computer.

    Every request and every answer raises RefusedError for what is wrong with it.
    """

    def __init__(self, remote: bool, timeout: float) -> None:
        super().__init__(max_retries=None, timeout=timeout)
        self.remote, self.seconds = remote, timeout
        be_patient(self.session)

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """The text behind a link or an address."""
        link = source.to_dict()["href"] if isinstance(source, pystac.Link) else source
        if self.remote and not str(link).lower().startswith(("http://", "https://")):
            raise RefusedError(
                f"it links to {plain(str(link))[:100]}, which is not on the web: tell its owner"
            )
        try:
            return super().read_text(source, *args, **kwargs)
        except (OSError, UnicodeDecodeError) as error:  # of a file
            told = error.strerror if isinstance(error, OSError) else "it is no text"
            raise DocumentError(f"{plain(str(link))} cannot be read ({told}): check it") from error

    def read_json(self, source: Any, *args: Any, **kwargs: Any) -> Document:
        """The JSON object behind a link or an address."""
        text = self.read_text(source, *args, **kwargs)
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            told = " ".join(str(error).split())[:100]
            raise DocumentError(f"it holds damaged JSON ({told}): tell its owner") from error
        if not isinstance(found, dict):
            raise DocumentError("it holds JSON that is no STAC catalogue: check the address")
        return found

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """One request with its retries; the answer's text."""
        verb = (method or "GET").upper()
        body, asked = (parameters, None) if verb == "POST" else (None, parameters)
        try:
            with self.session.request(
                verb, href, asked, headers=headers, json=body, timeout=self.seconds, stream=True
            ) as answer:
                check_status(answer)
                return self.text_of(answer)
        except Timeout as error:
            raise self.silent() from error
        except NoConnection as error:
            if "timed out" in str(error):  # a time-out in the last of several attempts
                raise self.silent() from error
            raise RefusedError(
                f"nothing answers there ({reason(error)}): check the address and the network"
            ) from error
        except RequestException as error:
            raise RefusedError(
                f"it cannot be asked ({reason(error)}): check the address"
            ) from error

    def text_of(self, answer: Response) -> str:
        """The body of an answer that looks like JSON, read within limits of size and time."""
        until, content = time.monotonic() + 10 * self.seconds, bytearray()
        for piece in answer.iter_content(2**16):
            content += piece
            if len(content) > LARGEST:
                raise RefusedError(
                    f"it sends more than {LARGEST >> 20} MB at once for a page of {PAGE} items: "
                    "narrow the search (--bbox, --datetime) or tell its owner"
                )
            if time.monotonic() > until:
                raise self.silent()
        text = content.decode("utf-8", errors="replace")
        if text.lstrip()[:1] != "{":
            kind = "a web page (HTML)" if "<html" in text[:1000].lower() else "no JSON"
            raise DocumentError(
                f"it answers with {kind}: give the address of the API itself, such as "
                "https://planetarycomputer.microsoft.com/api/stac/v1"
            )
        return text

    def silent(self) -> RefusedError:
        """A server that takes too long."""
        return RefusedError(
            f"it does not answer within {self.seconds:g} s, {RETRIES + 1} times: try again later, "
            "or give it more time (--stac-timeout)"
        )


def check_status(answer: Response) -> None:
    """Raises RefusedError for an answer that is none."""
    code = answer.status_code
    if 200 <= code < 300:
        return
    try:
        told = f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        told = str(code)
    if code in (401, 403, 407):
        advice = "access is denied, it may want credentials or another address"
    elif code in LATER:
        advice = f"also after {RETRIES} more attempts, try again later"
    elif code in (404, 405, 410):
        advice = "check the address, which is that of the API itself"
    else:
        advice = "check the collection and the box"
    kind = DocumentError if code in (404, 410) else RefusedError
    raise kind(f"the server answers {told}: {advice}")


def open_catalogue(url: str, timeout: float) -> tuple[PatientIO, Document]:
    """What reads the documents of a catalogue at an address or a path, and its root."""
    reader = PatientIO(is_remote(url), timeout)
    root = reader.read_json(url)
    check_catalogue(root)
    return reader, root


def check_catalogue(facts: Document) -> None:
    """Raises RefusedError for JSON that is no catalogue or collection."""
    kind = facts.get("type")
    if kind in ("Catalog", "Collection") or (kind is None and "stac_version" in facts):
        if isinstance(facts.get("links"), list):
            return
        raise RefusedError("it has no links: a catalogue lists what it has as links")
    what = {
        "Feature": "a single item", "FeatureCollection": "a list of items",
    }.get(str(kind), "JSON, but no STAC catalogue or collection")  # fmt: skip
    raise RefusedError(
        f"it is {what}: give the address of the API itself, or of a catalogue's file"
        + ("; geodiff batch takes files of items with --items" if what[0] == "a" else "")
    )


def reason(error: BaseException) -> str:
    """The innermost cause of a failed request, in few words and without its address's secrets."""
    inner: Any = error
    while True:
        within = getattr(inner, "reason", None) or next(
            (part for part in getattr(inner, "args", ()) if isinstance(part, BaseException)), None
        )
        if not isinstance(within, BaseException):
            break
        inner = within
    said = " ".join(str(inner).split())
    return clean_href(said.rpartition(": ")[2][:120]) or type(inner).__name__
