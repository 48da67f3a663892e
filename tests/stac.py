"""A tiny STAC world of real rasters: a static catalogue on disk, and an API that serves it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pystac
from affine import Affine
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

from tests.jobs.rasters import UTM, texture, write_raster

COLOURS = [{"name": name, "common_name": name} for name in ("red", "green", "blue")]
TIFF = pystac.MediaType.COG


def item(
    folder: Path, name: str, seed: int, year: int, east: int = 0, size: int = 160, crs: int = 32610
) -> pystac.Item:
    """An item with a raster of ``size`` px, ``east`` pixels to the right of the others' corner."""
    transform = Affine(0.6, 0.0, UTM.c + 0.6 * east, 0.0, -0.6, UTM.f)
    pixels = texture(size, size, seed)
    path = write_raster(folder / f"{name}.tif", pixels, f"EPSG:{crs}", transform)
    edges = (transform.c, transform.f - 0.6 * size, transform.c + 0.6 * size, transform.f)
    bounds = transform_bounds(f"EPSG:{crs}", "EPSG:4326", *edges)
    made = pystac.Item(
        name, mapping(box(*bounds)), list(bounds), datetime(year, 6, 1, tzinfo=UTC), {}
    )
    image = pystac.Asset(str(path), media_type=TIFF, roles=["data"])
    image.extra_fields["eo:bands"] = COLOURS
    made.add_asset("thumbnail", pystac.Asset("t.jpg", media_type="image/jpeg"))
    made.add_asset("image", image)
    return made


def pointing(folder: Path, href: str, name: str = "made") -> pystac.Item:
    """An item whose image is said to be at ``href``."""
    made = item(folder, name, 1, 2020)
    made.assets = {"image": pystac.Asset(href, media_type=TIFF, roles=["data"])}
    made.collection_id = "naip"
    return made


def catalogue(folder: Path, items: list[pystac.Item], collection: str = "naip") -> str:
    """A static catalogue with one collection; the path of its root."""
    root = pystac.Catalog("root", "tests")
    extent = pystac.Extent(
        pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]])
    )
    child = pystac.Collection(collection, "tests", extent)
    root.add_child(child)
    child.add_items(items)
    root.normalize_and_save(str(folder / "stac"), pystac.CatalogType.SELF_CONTAINED)
    return str(folder / "stac" / "catalog.json")


@contextmanager
def api(items: list[pystac.Item], page: int = 2) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An item search in pages on a free port; its address and the questions that it was asked.

    It filters by collection alone, as poor servers do.
    """
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()})

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, query: dict[str, Any]) -> None:
            here = f"http://127.0.0.1:{self.server.server_address[1]}"
            if urlsplit(self.path).path != "/search":
                return self.send(
                    {
                        "type": "Catalog", "id": "api", "stac_version": "1.0.0",
                        "description": "tests",
                        "conformsTo": [
                            "https://api.stacspec.org/v1.0.0/core",
                            "https://api.stacspec.org/v1.0.0/item-search",
                        ],
                        "links": [
                            {"rel": "root", "href": here},
                            {"rel": "search", "href": f"{here}/search", "method": "POST"},
                        ],
                    }
                )  # fmt: skip
            asked.append(query)
            wanted = query.get("collections") or []
            chosen = [i for i in items if not wanted or i.collection_id in wanted]
            first = int(query.get("token", 0))
            links = []
            if first + page < len(chosen):
                body = {**query, "token": first + page}
                link = {"rel": "next", "href": f"{here}/search", "method": "POST", "body": body}
                links.append(link)
            found = [i.to_dict(False, False) for i in chosen[first : first + page]]
            return self.send({"type": "FeatureCollection", "features": found, "links": links})

        def send(self, value: dict[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/geo+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
