"""A county of real NAIP chips behind `rustac serve`, some of whose items are broken on purpose."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pystac
import rasterio
from rasterio.shutil import copy

from tests.stac_live import Handler, Server, cog, item, rustac, served

SIDE = 64
"""Pixels a side of the chips' corners that are served."""

CLIMBER = "../../escape"

LATE = "bishop_2020_2"
"""The item whose raster is answered with 500 twice before it comes."""

BROKEN = {
    "lacks": "has no asset that is an image in colour",
    "truncated": "its pixels cannot be decoded, it is damaged or cut short",
    "placeless": "has no CRS in its raster",
    "gone": "the file is gone (404)",
    "passwd": "is not on the web: refused",
}
"""Items of which no twin can be made, and what the report says of them."""

SETTINGS: dict[str, Any] = {
    "collection": ("naip",), "mode": "fast", "steps": 1, "guidance": 1.0, "chart": 128,
    "device": "cpu", "precision": "fp32", "command": "geodiff batch",
}  # fmt: skip


@dataclass
class County:
    """Where the API is, and what is asked of it; ``late`` counts the answers of the late raster."""

    api: str
    server: Server
    folder: Path
    items: dict[str, pystac.Item]
    late: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> set[str]:
        """Ids of items of which a twin can be made."""
        return set(self.items) - set(BROKEN)

    def file(self, path: Path, *ids: str) -> str:
        """An ItemCollection of some items, as `stac-client search --save` writes it."""
        features = [self.items[name].to_dict(False, False) for name in ids]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return str(path)


@contextmanager
def county(imagery: Path, folder: Path) -> Iterator[County]:
    """22 items that can be painted, in two UTM zones, and five that cannot."""
    late: Counter[str] = Counter()

    def busy(handler: Handler) -> bool:
        if not handler.path.startswith(f"/{LATE}.tif"):
            return False
        late[handler.command] += 1
        if sum(late.values()) > 2:
            return False
        handler.send(500, b"busy")
        return True

    chips = [imagery / "naip_ca_060cm" / "images" / f"{name}.tif" for name in names()]
    paths = [corner(chip, folder / chip.name) for chip in chips]
    with served(folder, busy) as server:
        items = {path.stem: item(path, f"{server.url}/{path.name}", "2020-06-01") for path in paths}
        for made in broken(paths[0], folder, server.url):
            items[made.id] = made
        with rustac(folder, list(items.values())) as api:
            yield County(api, server, folder, items, late)


def names() -> list[str]:
    """Chips of two towns in two UTM zones."""
    zone_11 = [f"bishop_2020_{number}" for number in range(10)]
    return zone_11 + [f"eureka_2020_{number}" for number in (0, *range(3, 13))]


def corner(chip: Path, out: Path) -> Path:
    """The north-western corner of a chip as a COG, its transform kept to the bit."""
    with rasterio.open(chip) as dataset:
        pixels = dataset.read(window=((0, SIDE), (0, SIDE)))
        return cog(out, pixels, str(dataset.crs), dataset.transform)


def broken(path: Path, folder: Path, url: str) -> Iterator[pystac.Item]:
    """Items with something wrong, all of the ground of ``path``; the last one can be painted."""
    lacking = item(path, f"{url}/{path.name}", "2020-06-02")
    del lacking.assets["image"]
    yield named(lacking, "lacks")
    content = path.read_bytes()
    (folder / "truncated.tif").write_bytes(content[: len(content) // 2])
    yield named(item(path, f"{url}/truncated.tif", "2020-06-02"), "truncated")
    with rasterio.open(path) as dataset:
        profile = {**dataset.profile, "driver": "GTiff", "crs": None}
        with rasterio.open(folder / "bare.tif", "w", **profile) as bare:
            bare.write(dataset.read())
    copy(folder / "bare.tif", folder / "placeless.tif", driver="COG")
    placeless = named(item(path, f"{url}/placeless.tif", "2020-06-02"), "placeless")
    for name in ("proj:epsg", "proj:shape", "proj:transform"):
        del placeless.properties[name]
    yield placeless
    yield named(item(path, f"{url}/nowhere.tif", "2020-06-02"), "gone")
    yield named(item(path, "file:///etc/passwd", "2020-06-02"), "passwd")
    yield named(item(path, f"{url}/{path.name}", "2020-06-02"), CLIMBER)


def named(made: pystac.Item, name: str) -> pystac.Item:
    """The item under another id."""
    made.id = name
    return made
