"""One bad item spoils no other: searches and files of items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pystac
import pytest

from geodiff.errors import DataError
from geodiff.geo.search import Search
from geodiff.geo.survey import survey, survey_file
from tests.stac import item as make_item
from tests.stac_live import landing, served


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> pystac.Item:
    return make_item(tmp_path_factory.mktemp("raster"), "good", 1, 2020, size=32)


def as_json(item: pystac.Item, name: str, href: str | None = None, **more: Any) -> dict[str, Any]:
    facts = item.to_dict(False, False) | {"id": name, "collection": "naip", **more}
    if href is not None:
        facts["assets"]["image"]["href"] = href
    return facts


def test_an_api_that_gives_nonsense_among_items(good: pystac.Item, tmp_path: Path) -> None:
    web = "https://example.org/a.tif"
    answer: list[Any] = [
        as_json(good, "b", web), as_json(good, "a", web), {"id": "nothing"}, 7, None,
        as_json(good, "fields", web, properties={"datetime": 12}),
        as_json(good, "box", web, bbox=["west"]), as_json(good, "file", "file:///etc/passwd"),
        as_json(good, "climbs", "https://example.org/x/../../a.tif"),
        as_json(good, "number", web) | {"id": 5}, as_json(good, "bare", assets={}),
    ]  # fmt: skip

    def api(handler: Any) -> bool:
        here = f"http://{handler.headers['Host']}"
        page = {"type": "FeatureCollection", "features": answer, "links": []}
        return bool(handler.json(page if handler.path == "/search" else landing(here)))

    with served(tmp_path, api) as server:
        known = survey(Search(server.url, ("naip",)))
    assert [one.name for one in known.found] == ["a", "b"]
    reasons = {one.name: one.reason for one in known.unusable}
    assert {"nothing", "fields", "box", "file", "climbs", "bare"} <= set(reasons)
    assert len(known.unusable) == len(answer) - 2
    assert "is not on the web: refused" in reasons["file"]
    assert "climbs out of its folder" in reasons["climbs"]
    assert "no asset that is an image in colour" in reasons["bare"]
    assert all("\n" not in reason for reason in reasons.values())


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    def api(handler: Any) -> bool:
        here = f"http://{handler.headers['Host']}"
        page = {"type": "FeatureCollection", "features": [], "links": []}
        return bool(handler.json(page if handler.path == "/search" else landing(here)))

    with served(tmp_path, api) as server, pytest.raises(DataError, match="found no item for naip"):
        survey(Search(server.url, ("naip",)))


def query(path: Path, any_href: bool = False) -> Search:
    return Search(path.as_uri(), ("items",), any_href=any_href)


def test_items_of_a_file_lie_on_the_web_or_beside_it(good: pystac.Item, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    raster = Path(good.assets["image"].href)
    (tmp_path / "near.tif").write_bytes(raster.read_bytes())
    self_link = {"rel": "self", "href": "https://example.org/stac/items/web.json"}
    items = [
        as_json(good, "near", "./near.tif"), as_json(good, "web", "../a.tif", links=[self_link]),
        as_json(good, "absolute", str(raster)), as_json(good, "etc", "file:///etc/passwd"),
        as_json(good, "climbs", "../raster0/good.tif"), as_json(good, "vsi", "/vsicurl/https://a/b"),
        as_json(good, "near", "./near.tif"),
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    known = survey_file(str(path), query(path))
    assert {one.name: one.hrefs for one in known.found} == {
        "near": (str(tmp_path / "near.tif"),), "web": ("https://example.org/stac/a.tif",)
    }  # fmt: skip
    assert known.found[0].link == str(tmp_path / "near.tif")
    assert [one.name for one in known.unusable] == ["absolute", "etc", "climbs", "vsi", "near"]
    assert all("refused" in one.reason for one in known.unusable[:4])
    assert "twice" in known.unusable[4].reason
    trusted = survey_file(str(path), query(path, any_href=True))
    assert "absolute" in [one.name for one in trusted.found]


@pytest.mark.parametrize(
    ("text", "told"),
    [("[", "is no JSON"), ("[]", "holds no item"), ('"a"', "holds no item"), (None, "be read")],
)
def test_a_file_that_holds_no_items_is_refused(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=told):
        survey_file(str(path), query(path))
