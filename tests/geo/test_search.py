"""A STAC search finds items by place and time, and the asset that holds their colours."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest

from geodiff.errors import DataError, UsageError
from geodiff.geo import stac_client
from geodiff.geo.intervals import interval
from geodiff.geo.search import Search, search
from geodiff.geo.signing import sign
from tests.stac import COLOURS, TIFF, api, catalogue, item, pointing
from tests.stac_live import Answer, Handler, answering, page, served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stac")


@pytest.fixture(scope="module")
def items(folder: Path) -> list[pystac.Item]:
    """Three years of one place, and one item 100 km to the east."""
    made = [item(folder, f"y{year}", year, year) for year in (2020, 2016, 2018)]
    return [*made, item(folder, "far", 1, 2018, east=170_000)]


@pytest.fixture(scope="module")
def root(folder: Path, items: list[pystac.Item]) -> str:
    return catalogue(folder, items)


def names(query: Search) -> list[str]:
    return [found.name for found in search(query)]


def box(of: pystac.Item) -> tuple[float, float, float, float]:
    assert of.bbox is not None
    west, south, east, north = of.bbox
    return west, south, east, north


def test_a_catalogue_is_walked_and_filtered(root: str, items: list[pystac.Item]) -> None:
    assert names(Search(root)) == ["far", "y2016", "y2018", "y2020"]
    here = Search(root, ("naip",), box(items[0]))
    assert names(here) == ["y2016", "y2018", "y2020"]
    assert names(replace(here, datetime="2017/2018-06-01")) == ["y2018"]
    assert names(replace(here, datetime="2018-06/..")) == ["y2018", "y2020"]
    assert names(replace(here, max_items=1)) != []
    found = search(here)[0]
    assert found.hrefs == (items[1].assets["image"].href,)
    assert found.datetime == "2016-06-01T00:00:00+00:00"
    assert found.bands == (1, 2, 3)


def test_an_api_is_asked_and_its_answers_checked(items: list[pystac.Item]) -> None:
    with api(items) as (url, asked):
        query = Search(url, ("naip",), box(items[0]), "2016/2018", any_href=True)
        assert names(query) == ["y2016", "y2018"]
        assert asked[0]["collections"] == ["naip"]
        assert asked[0]["bbox"] == pytest.approx(box(items[0]))
        assert asked[0]["datetime"].startswith("2016-01-01T00:00:00Z/2018-12-31T23:59:59")
        assert len(asked) == 2  # both pages


@pytest.mark.parametrize(
    "changes", [{"collections": ("landsat",)}, {"bbox": (1, 2, 3, 4)}, {"datetime": "1999"}]
)
def test_nothing_found_is_one_line(root: str, changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"found no item for .*check --collection") as caught:
        search(replace(Search(root, ("naip",)), **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("hurry")
def test_addresses_that_are_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text('{"type": "Feature"}')
    (tmp_path / "broken.json").write_text("{")
    for url in ("nowhere.json", "no.json", "broken.json"):
        with pytest.raises(DataError, match=r"the STAC search at .* failed") as caught:
            search(Search(str(tmp_path / url)))
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="failed"):
        search(Search("http://127.0.0.1:9/stac"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": (3, 2, 1, 4)}, "antimeridian|west"),
        ({"datetime": "yesterday"}, "give 2020, 2020-06-01 or"),
        ({"datetime": "2020/2018"}, "ends before it begins"),
        ({"datetime": "2018/2019/2020"}, "give 2020"),
        ({"datetime": "2020-13"}, "give 2020"),
        ({"asset": "red,green"}, "one asset, or three"),
        ({"max_items": 0}, "at least 1"),
    ],
)
def test_searches_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Search("http://example.com", **changes)


def test_intervals() -> None:
    assert interval("2020")[0] == datetime(2020, 1, 1, tzinfo=UTC)
    assert interval("2020")[1] < datetime(2021, 1, 1, tzinfo=UTC) <= interval("2021")[0]
    assert interval("2020-12")[1] > datetime(2020, 12, 31, 23, 59, tzinfo=UTC)
    first, last = interval("2020-06-01T12:00:00Z")
    assert first == last == datetime(2020, 6, 1, 12, tzinfo=UTC)
    assert interval("../2020-06-01")[0].year == 1


def assets(folder: Path, **given: pystac.Asset) -> str:
    folder.mkdir(exist_ok=True)
    made = item(folder, "made", 1, 2020)
    made.assets = given
    for asset in given.values():
        asset.owner = made
    return catalogue(folder, [made])


def asset(name: str, bands: list[dict[str, str]] | None = None, **facts: Any) -> pystac.Asset:
    extra = {"bands": bands} if bands else {}
    return pystac.Asset(f"/x/{name}.tif", media_type=TIFF, extra_fields=extra, **facts)


def test_assets_are_chosen_by_colours_roles_and_names(tmp_path: Path) -> None:
    backwards = [{"eo:common_name": b["name"]} for b in reversed(COLOURS)]
    root = assets(tmp_path, a=asset("a", roles=["data"]), b=asset("b", backwards))
    assert search(Search(root))[0].hrefs == ("/x/b.tif",)
    assert search(Search(root))[0].bands == (3, 2, 1)
    assert search(Search(root, asset="a"))[0].hrefs == ("/x/a.tif",)
    root = assets(tmp_path / "1", cloud=asset("c"), **{
        name: asset(name) for name in ("blue", "green", "red")
    })  # fmt: skip
    assert search(Search(root))[0].hrefs == ("/x/red.tif", "/x/green.tif", "/x/blue.tif")
    assert search(Search(root, asset="red,red,blue"))[0].hrefs[:2] == ("/x/red.tif",) * 2
    root = assets(tmp_path / "2", mask=asset("m"), visual=asset("v"))
    assert search(Search(root))[0].hrefs == ("/x/v.tif",)
    with pytest.raises(DataError, match="has no asset 'rgb'; it has mask, visual: say which with"):
        search(Search(root, asset="rgb"))
    root = assets(tmp_path / "3", thumbnail=asset("t", roles=["thumbnail"]))
    with pytest.raises(DataError, match="no asset that is an image in colour; it has thumbnail"):
        search(Search(root))


def test_only_addresses_of_the_planetary_computer_are_signed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For others its package is not even imported."""
    monkeypatch.setitem(sys.modules, "planetary_computer", None)
    for other in ("https://example.com/blob.core.windows.net/a.tif", "/data/a.tif"):
        assert sign(other) == other
    with pytest.raises(ModuleNotFoundError):
        sign("https://naipeuwest.blob.core.windows.net/naip/a.tif")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(stac_client, "BACKOFF", 0.001)


@pytest.mark.usefixtures("hurry")
def test_a_server_that_stumbles_is_asked_again(tmp_path: Path) -> None:
    codes = iter([500, 503])
    fine = answering(page(pointing(tmp_path, "https://example.com/a.tif")))

    def stumble(handler: Handler) -> bool:
        code = next(codes, None) if handler.command == "POST" else None
        return fine(handler) if code is None else handler.send(code, b"later") is None

    with served(tmp_path, stumble) as server:
        assert names(Search(server.url, ("naip",))) == ["made"]
        assert server.asked.count("/search") == 3


def asleep(handler: Handler) -> bool:
    time.sleep(0.4)
    return handler.json({})


BAD: dict[str, tuple[Answer, str]] = {
    "always 500": (
        lambda h: h.send(500, b"no") is None,
        r"answers 500 Internal Server Error: also after 4 more attempts, try again later",
    ),
    "denied": (lambda h: h.send(403, b"no") is None, "403 Forbidden: access is denied"),
    "another place": (lambda h: h.send(404, b"no") is None, "404 Not Found: check the address"),
    "a web page": (
        lambda h: h.send(200, b"<!doctype html><html>hello</html>", "text/html") is None,
        r"a web page \(HTML\): give the address of the API itself",
    ),
    "no JSON": (lambda h: h.send(200, b"hello") is None, "answers with no JSON"),
    "silent": (asleep, r"does not answer within 0\.1 s, 5 times: try again later"),
    "huge": (
        lambda h: h.send(200, b'{"type": "' + b"x" * 2**18 + b'"}') is None,
        "sends more than 0 MB at once for a page of 100 items",
    ),
}


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("kind", BAD)
def test_servers_that_misbehave(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac_client, "LARGEST", 2**17)
    answer, message = BAD[kind]
    with served(tmp_path, answer) as server:
        query = Search(f"{server.url}/?token=secret", ("naip",), timeout=0.1)
        with pytest.raises(DataError, match=message) as caught:
            search(query)
    assert str(caught.value).startswith(f"the STAC search at {server.url}/ failed: ")
    assert "\n" not in str(caught.value)


def test_links_that_lead_into_this_computer(tmp_path: Path) -> None:
    made = pointing(tmp_path, "https://example.com/a.tif")
    for href in ("file:///etc/hosts", "/etc/hosts"):
        found = page(made, links=[{"rel": "next", "href": href}])
        with (
            served(tmp_path, answering(found)) as server,
            pytest.raises(DataError, match=f"links to {href}, which is not on the web"),
        ):
            search(Search(server.url, ("naip",)))


def test_remote_catalogues_may_not_point_into_this_computer(tmp_path: Path) -> None:
    for href, refused in {
        "file:///etc/passwd": True, "/etc/passwd.tif": True, "/vsizip//a.zip/b.tif": True,
        "https://example.com/a/../../b.tif": True, "https://example.com/%2e%2e/b.tif": True,
        "../b.tif": True, "GTIFF_DIR:1:/etc/a.tif": True, "C:\\a.tif": True,
        "https://example.com/a..b.tif": False, "s3://naip-analytic/a.tif": False,
    }.items():  # fmt: skip
        with served(tmp_path, answering(page(pointing(tmp_path, href)))) as server:
            query = Search(server.url, ("naip",))
            if refused:
                with pytest.raises(DataError, match=r"points to .* refused; --stac-any"):
                    search(query)
                query = replace(query, any_href=True)
            assert names(query) == ["made"]
    local = catalogue(tmp_path, [pointing(tmp_path, "/etc/passwd.tif")])
    assert names(Search(local)) == ["made"]
