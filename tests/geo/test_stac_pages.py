"""A search of an API ends, whatever its pages link to, and asks in the way that the API wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pystac
import pytest

from geodiff.errors import DataError
from geodiff.geo import search as searching
from geodiff.geo.search import Search, search
from tests.stac import pointing
from tests.stac_live import Answer, Handler, answering, landing, page, served

WEB = "https://example.com/a.tif"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return pointing(tmp_path_factory.mktemp("item"), WEB).to_dict(False, False)


def names(query: Search) -> list[str]:
    return [found.name for found in search(query)]


def leading(made: dict[str, Any], links: dict[int, str]) -> Answer:
    """Pages of one item each; which page each leads to (``{0: "/search?p=1"}``)."""

    def answer(handler: Handler) -> bool:
        here = f"http://{handler.headers['Host']}"
        where = urlsplit(handler.path)
        if where.path != "/search":
            return handler.json(landing(here))
        number = int(parse_qs(where.query).get("p", ["0"])[0])
        href = links.get(number)
        following = [] if href is None else [{"rel": "next", "href": here + href}]
        return handler.json(page(made | {"id": f"i{number}"}, links=following))

    return answer


@pytest.mark.parametrize(
    "links",
    [{0: "/search"}, {0: "/search?p=1", 1: "/search?p=1"},
     {0: "/search?p=1", 1: "/search?p=2", 2: "/search?p=0"}],
)  # fmt: skip
def test_pages_in_a_circle_are_one_line(
    links: dict[int, str], made: dict[str, Any], tmp_path: Path
) -> None:
    with served(tmp_path, leading(made, links)) as server:
        with pytest.raises(DataError, match=r"pages go in a circle, .*rel next.*: tell") as caught:
            search(Search(server.url, ("naip",)))
        assert server.asked.count("/search") <= 2
        assert len(server.asked) <= 6
    assert "\n" not in str(caught.value)


def test_pages_that_lead_on_are_followed(made: dict[str, Any], tmp_path: Path) -> None:
    with served(tmp_path, leading(made, {0: "/search?p=1", 1: "/search?p=2"})) as server:
        assert names(Search(server.url, ("naip",))) == ["i0", "i1", "i2"]


def test_pages_without_an_end(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MOST", 20)
    endless = {number: f"/search?p={number + 1}" for number in range(99)}
    with (
        served(tmp_path, leading(made, endless)) as server,
        pytest.raises(DataError, match="more than 20 items for naip: give a smaller box"),
    ):
        search(Search(server.url, ("naip",)))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"code": "oops", "description": "no"}, "JSON that is no list of items"),
        ({"type": "FeatureCollection", "features": {"a": 1}}, "JSON that is no list of items"),
        ([1, 2], "answers with no JSON"),
        (page({"id": 1}, links=[{"rel": "next", "href": 7}]), "link to the next page has no addr"),
    ],
)
def test_answers_that_are_no_page(answer: Any, told: str, tmp_path: Path) -> None:
    with served(tmp_path, answering(answer)) as server, pytest.raises(DataError, match=told):
        search(Search(server.url, ("naip",)), [])


def test_links_that_are_none_are_no_links(made: dict[str, Any], tmp_path: Path) -> None:
    for links in (None, 5, [None, 1, {"href": "x"}, {"rel": "self", "href": 5}]):
        with served(tmp_path, answering(page(made) | {"links": links})) as server:
            assert names(Search(server.url, ("naip",))) == ["made"]


def test_an_api_that_is_asked_by_get_alone(made: dict[str, Any], tmp_path: Path) -> None:
    asked: list[dict[str, list[str]]] = []

    def answer(handler: Handler) -> bool:
        here = f"http://{handler.headers['Host']}"
        where = urlsplit(handler.path)
        if where.path != "/find":
            link = {"rel": "search", "href": "/find", "method": "GET"}
            return handler.json(landing(here) | {"links": [link]})
        asked.append(parse_qs(where.query))
        return handler.json(page(made)) if handler.command == "GET" else False

    with served(tmp_path, answer) as server:
        assert names(Search(server.url, ("naip", "b"), (-180, -90, 180, 90), "2019/..")) == ["made"]
    assert asked == [{
        "limit": ["100"], "collections": ["naip,b"], "bbox": ["-180,-90,180,90"],
        "datetime": ["2019-01-01T00:00:00Z/.."],
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("dates", "asked"),
    [
        ("2020", "2020-01-01T00:00:00Z/2020-12-31T23:59:59Z"),
        ("../..", None),
        ("20200601/2021", "2020-06-01T00:00:00Z/2021-12-31T23:59:59Z"),
        ("../2021-02", "../2021-02-28T23:59:59Z"),
        ("2020-06-01T02:00:00+02:00/..", "2020-06-01T00:00:00Z/.."),
        (None, None),
    ],
)
def test_whatever_is_an_interval_is_asked_for(
    dates: str | None, asked: str | None, made: dict[str, Any], tmp_path: Path
) -> None:
    questions: list[dict[str, Any]] = []

    def answer(handler: Handler) -> bool:
        if handler.path != "/search":
            return handler.json(landing(f"http://{handler.headers['Host']}"))
        questions.append(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        handler.headers.replace_header("Content-Length", "0")
        return handler.json(page(made))

    with served(tmp_path, answer) as server:
        assert names(Search(server.url, ("naip",), datetime=dates)) == ["made"]
    assert questions[0].get("datetime") == asked


def test_an_api_that_does_not_say_so_is_known_by_its_search_link(
    made: dict[str, Any], tmp_path: Path
) -> None:
    def answer(handler: Handler) -> bool:
        if handler.path == "/search":
            return handler.json(page(made))
        told = landing(f"http://{handler.headers['Host']}")
        return handler.json({key: value for key, value in told.items() if key != "conformsTo"})

    with served(tmp_path, answer) as server:
        assert names(Search(server.url, ("naip",))) == ["made"]


@pytest.mark.parametrize(
    ("kind", "links", "more", "told"),
    [
        ("Catalog", [], {}, "static catalogue that links to no items and no other catalogues"),
        ("Catalog", [{"rel": "data", "href": "/c"}], {"conformsTo": ["core"]},
         "an API without item search"),
        ("Collection", [{"rel": "items", "href": "/i"}, {"rel": "root", "href": "http://a.b/api"}],
         {}, r"one collection of an API: .* itself \(http://a\.b/api\) and --collection x$"),
    ],
)  # fmt: skip
def test_a_catalogue_that_leads_nowhere_says_so(
    kind: str, links: list[dict[str, str]], more: dict[str, Any], told: str, tmp_path: Path
) -> None:
    root = {"type": kind, "id": "x", "stac_version": "1.0.0", "links": links, **more}
    (tmp_path / "root.json").write_text(json.dumps(root))
    with pytest.raises(DataError, match=told) as caught:
        search(Search(str(tmp_path / "root.json"), ("naip",)))
    assert "\n" not in str(caught.value)


def test_a_root_that_is_no_catalogue_is_one_line(made: dict[str, Any], tmp_path: Path) -> None:
    item = pystac.Item.from_dict(made)
    for root, told in (
        (item.to_dict(False, False), "it is a single item: give the address of the API itself"),
        (page(item), "it is a list of items: .* geodiff batch takes files of items with --items"),
        ({"hello": 1}, "it is JSON, but no STAC catalogue or collection: give the address"),
        ({"type": "Catalog", "id": "a", "stac_version": "1.0.0"}, "it has no links"),
    ):
        path = tmp_path / "root.json"
        path.write_text(json.dumps(root))
        with served(tmp_path) as server:
            for url in (str(path), path.as_uri(), f"{server.url}/root.json"):
                with pytest.raises(DataError, match=told) as caught:
                    search(Search(url, ("naip",)))
                assert "\n" not in str(caught.value)
