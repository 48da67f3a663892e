"""STAC over real HTTP on the loopback: `rustac serve`, rasters by byte ranges, and bad servers."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.shutil import copy
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

NAIP = [{"name": name, "eo:common_name": name} for name in ("red", "green", "blue", "nir")]

Answer = Callable[["Handler"], bool]
"""Answers a request by itself (True), or leaves it to the files."""


class Handler(BaseHTTPRequestHandler):
    """Files of a folder by byte ranges (one a request, as GDAL asks), like any object store."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.answer is not None and self.server.answer(self):
            return
        name = self.path.split("?")[0].removeprefix(f"http://{self.headers['Host']}").lstrip("/")
        path = self.server.folder / name
        if not path.is_file():
            return self.send(404, b"no such file")
        content = path.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            return self.send(200, content, "image/tiff", {"Accept-Ranges": "bytes"})
        first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
        if first > last:
            return self.send(416, b"")
        place = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return self.send(206, content[first : last + 1], "image/tiff", place)

    do_HEAD = do_POST = do_PUT = do_GET

    def send(
        self,
        code: int,
        content: bytes,
        kind: str = "text/plain",
        more: dict[str, str] | None = None,
    ) -> None:
        """An answer with its length."""
        if self.command == "POST":
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(code)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **(more or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, value: Any) -> bool:
        """An answer in JSON."""
        self.send(200, json.dumps(value).encode(), "application/json")
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


class Server(ThreadingHTTPServer):
    """Serves a folder; ``asked`` are the paths of all requests."""

    daemon_threads = True

    def __init__(self, folder: Path, answer: Answer | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.answer, self.asked = folder, answer, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


@contextmanager
def served(folder: Path, answer: Answer | None = None) -> Iterator[Server]:
    """The files of a folder on a free port; ``answer`` may take requests over."""
    server = Server(folder, answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def landing(url: str) -> dict[str, Any]:
    """The root of an API that can search."""
    core = "https://api.stacspec.org/v1.0.0/"
    return {
        "type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "tests",
        "conformsTo": [f"{core}core", f"{core}item-search"],
        "links": [
            {"rel": "root", "href": url},
            {"rel": "search", "href": f"{url}/search", "method": "POST"},
        ],
    }  # fmt: skip


def answering(found: dict[str, Any]) -> Answer:
    """An API that gives one answer to every search."""

    def answer(handler: Handler) -> bool:
        here = f"http://{handler.headers['Host']}"
        return handler.json(found if handler.path == "/search" else landing(here))

    return answer


def page(*features: pystac.Item | Any, links: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A page of items, which may be something else."""
    made = [one.to_dict(False, False) if isinstance(one, pystac.Item) else one for one in features]
    return {"type": "FeatureCollection", "features": made, "links": links or []}


def cog(path: Path, pixels: NDArray[np.uint8], crs: str, transform: Affine) -> Path:
    """A Cloud-Optimized GeoTIFF of (band, row, col) whose fourth band is no alpha."""
    plain = path.with_suffix(".plain.tif")
    shape = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2]}
    with rasterio.open(
        plain, "w", driver="GTiff", dtype="uint8", crs=crs, transform=transform,
        photometric="MINISBLACK", **shape,
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    copy(plain, path, driver="COG", COMPRESS="DEFLATE")
    plain.unlink()
    return path


def item(path: Path, href: str, day: str, **fields: Any) -> pystac.Item:
    """An item as NAIP's are described, of a raster on disk that is served at ``href``."""
    with rasterio.open(path) as dataset:
        bounds = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        projection = {
            "proj:epsg": dataset.crs.to_epsg(),
            "proj:shape": list(dataset.shape),
            "proj:transform": list(dataset.transform),
        }
    moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
    facts = {"gsd": 0.6, **projection, **fields}
    made = pystac.Item(path.stem, mapping(box(*bounds)), list(bounds), moment, facts)
    image = pystac.Asset(href, media_type=pystac.MediaType.COG, roles=["data"])
    image.extra_fields["eo:bands"] = NAIP
    made.add_asset("image", image)
    made.add_asset("thumbnail", pystac.Asset("t.jpg", roles=["thumbnail"]))
    made.collection_id = "naip"
    return made


@contextmanager
def rustac(folder: Path, items: list[pystac.Item]) -> Iterator[str]:
    """The address of a STAC API that holds these items in memory; skips where it is missing."""
    beside = Path(sys.executable).with_name("rustac")
    command = str(beside) if beside.exists() else shutil.which("rustac")
    if command is None:
        pytest.skip("rustac, a STAC server, is not installed: pip install rustac")
    extent = pystac.Extent(
        pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]])
    )
    collection = pystac.Collection("naip", "tests", extent, license="proprietary")
    (folder / "collection.json").write_text(json.dumps(collection.to_dict()))
    found = {"type": "FeatureCollection", "features": [i.to_dict(False, False) for i in items]}
    (folder / "items.json").write_text(json.dumps(found))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [str(folder / "collection.json"), str(folder / "items.json")]
    process = subprocess.Popen(
        [command, "serve", "-a", f"127.0.0.1:{port}", *files],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until a server answers."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, "rustac ended by itself"
            time.sleep(0.05)
    raise AssertionError("rustac does not answer")
