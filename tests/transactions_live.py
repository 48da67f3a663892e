"""A STAC API on the loopback that takes items, refuses some, and fails over others."""

from __future__ import annotations

import json
from typing import Any

from tests.stac_live import Handler

ROOT = {"conformsTo": ["https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"]}


class Api:
    """A transaction extension that holds things in memory; ``busy`` answers come first.

    ``refuse`` is its answer to all, ``bad`` are answers to some items by their ids. A page has one
    item, and a link to the next.
    """

    def __init__(
        self, busy: int = 0, refuse: int = 0, bad: dict[str, int] | None = None, host: str = ""
    ) -> None:
        self.held: dict[str, Any] = {}
        self.asked: list[tuple[str, str, str | None]] = []  # verb, path, credentials
        self.busy, self.refuse, self.bad, self.host = busy, refuse, bad or {}, host

    @property
    def posted(self) -> list[str]:
        """Paths of requests that hand something over."""
        return [path for verb, path, _ in self.asked if verb != "GET"]

    def page(self, handler: Handler) -> bool:
        """One item of a collection, by its number."""
        folder, _, query = handler.path.partition("?")
        number = int(query.partition("token=")[2] or 0)
        items = [self.held[name] for name in sorted(self.held) if name.startswith(f"{folder}/")]
        here = self.host or f"http://{handler.headers['Host']}"
        following = {"rel": "next", "href": f"{here}{folder}?token={number + 1}"}
        links = [{"rel": "self", "href": here}, following]  # the last page leads to an empty one
        return handler.json({"features": items[number : number + 1], "links": links})

    def __call__(self, handler: Handler) -> bool:
        self.asked.append((handler.command, handler.path, handler.headers.get("Authorization")))
        if handler.command == "GET" and not (self.busy or self.refuse):
            return handler.json(ROOT) if handler.path == "/" else self.page(handler)
        length = int(handler.headers.get("Content-Length", 0))
        body = json.loads(handler.rfile.read(length) or "{}")
        if length:
            handler.headers.replace_header("Content-Length", "0")
        if self.busy:
            self.busy -= 1
            handler.send(503, b"later")
        elif self.refuse:
            handler.send(self.refuse, b"no\nway")
        elif body["id"] in self.bad:
            handler.send(self.bad[body["id"]], b"bad geometry")
        elif handler.command == "POST" and f"{handler.path}/{body['id']}" in self.held:
            handler.send(409, b"it exists")
        else:
            name = handler.path if handler.command == "PUT" else f"{handler.path}/{body['id']}"
            self.held[name.replace("%20", " ")] = body
            handler.send(200, b"{}")
        return True
