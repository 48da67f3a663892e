"""A STAC API on the loopback with one raster, by the standard library alone."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CORE = "https://api.stacspec.org/v1.0.0"


class Handler(BaseHTTPRequestHandler):
    """The root, a search that finds the item, and the raster by byte ranges."""

    protocol_version = "HTTP/1.1"
    raster: bytes
    item: dict[str, Any]

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        here = f"http://{self.headers['Host']}"
        if self.path.startswith("/photo.tif"):
            return self.pixels()
        if self.path.startswith("/search"):
            image = {"href": f"{here}/photo.tif", "roles": ["data"], "type": "image/tiff"}
            found = {**self.item, "assets": {"image": image}}
            return self.say({"type": "FeatureCollection", "features": [found], "links": []})
        links = [
            {"rel": "root", "href": here},
            {"rel": "search", "href": f"{here}/search", "method": "POST"},
        ]
        kinds = [f"{CORE}/core", f"{CORE}/item-search"]
        facts = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "one"}
        return self.say({**facts, "conformsTo": kinds, "links": links})

    do_HEAD = do_POST = do_GET

    def pixels(self) -> None:
        """A range of the raster, or all of it."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self.send(200, self.raster, "image/tiff", {"Accept-Ranges": "bytes"})
        first, last = int(asked[1]), min(int(asked[2] or 10**9), len(self.raster) - 1)
        place = {"Content-Range": f"bytes {first}-{last}/{len(self.raster)}"}
        return self.send(206, self.raster[first : last + 1], "image/tiff", place)

    def say(self, value: Any) -> None:
        """An answer in JSON."""
        self.send(200, json.dumps(value).encode(), "application/json", {})

    def send(self, code: int, content: bytes, kind: str, more: dict[str, str]) -> None:
        """An answer with its length."""
        self.send_response(code)
        head = {"Content-Type": kind, "Content-Length": str(len(content)), **more}
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@contextmanager
def catalogue(raster: Path, lonlat: tuple[float, float, float, float]) -> Iterator[str]:
    """The address of an API whose collection naip holds one item, of June 2020."""
    west, south, east, north = lonlat
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "photo", "collection": "naip",
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": list(lonlat), "links": [],
        "properties": {"datetime": "2020-06-01T00:00:00Z", "gsd": 0.6},
    }  # fmt: skip
    content = raster.read_bytes()
    handler = type("One", (Handler,), {"raster": content, "item": item})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
