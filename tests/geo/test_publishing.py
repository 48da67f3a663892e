"""Items are handed to an API: created, else replaced, with addresses that hold anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geodiff.errors import OutputError
from geodiff.geo import stac_client, transactions
from geodiff.geo.publishing import FAILURES, SEAL, Handed, absolute, publish
from geodiff.geo.transactions import Transactions
from tests.stac_live import Handler, Server
from tests.transactions_live import Api

ITEM = {
    "id": "a b", "collection": "twins", "properties": {},
    "links": [
        {"rel": "root", "href": "../collection.json"},
        {"rel": "derived_from", "href": "../model/m.json"},
        {"rel": "derived_from", "href": "https://example.org/a.json"},
    ],
    "assets": {"data": {"href": "./a.tif"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac_client, "BACKOFF", 0.01)
    monkeypatch.setattr(stac_client, "LONGEST_WAIT", 0.01)


@pytest.fixture
def served(tmp_path: Path) -> Any:
    import threading

    servers: list[Server] = []

    def start(api: Api) -> str:
        server = Server(tmp_path, api)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return server.url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_is_there_is_replaced(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(transactions.TOKEN, "secret")
    api = Api(busy=2)
    to = Transactions(served(api) + "/", 5)
    for title in ("one", "two"):
        collection = {"id": "twins", "title": title, "links": [{"rel": "item", "href": "./x"}]}
        item = ITEM | {"properties": {"title": title}}
        taken = publish(to, collection, iter([item]), "https://files.org/twins/")
        assert list(taken) == [Handed("a b")]
    assert set(api.held) == {"/collections/twins", "/collections/twins/items/a b"}
    assert api.held["/collections/twins"] == {"id": "twins", "title": "two", "links": []}
    kept = api.held["/collections/twins/items/a b"]
    assert kept["properties"]["title"] == "two"
    assert kept["assets"]["data"]["href"] == "https://files.org/twins/items/a.tif"
    assert [link["href"] for link in kept["links"]] == [
        "https://files.org/twins/model/m.json", "https://example.org/a.json"
    ]  # fmt: skip
    assert {token for _, _, token in api.asked} == {"Bearer secret"}


def test_addresses_of_a_bucket_stay_its_addresses() -> None:
    there = absolute(ITEM, "s3://bucket/twins")
    assert there["assets"]["data"]["href"] == "s3://bucket/twins/items/a.tif"
    assert there["links"][0]["href"] == "s3://bucket/twins/model/m.json"


@pytest.mark.parametrize(
    ("code", "told"),
    [(401, "wants credentials"), (404, "check the address"), (405, "lacks"), (400, "no way")],
)
def test_a_refusal_is_one_line(served: Any, code: int, told: str) -> None:
    with pytest.raises(OutputError, match=told) as error:
        Transactions(served(Api(refuse=code)), 5).put_item(dict(ITEM))
    assert "\n" not in str(error.value)


BASE = "https://files.org/twins"


def items(*names: str) -> list[dict[str, Any]]:
    return [ITEM | {"id": name} for name in names]


def hand(url: str, some: list[dict[str, Any]], base: str = BASE) -> list[Handed]:
    return list(publish(Transactions(url, 5), {"id": "twins"}, iter(some), base))


@pytest.mark.parametrize("code", [400, 500, 503])
def test_an_item_that_is_not_taken_keeps_no_other_away(served: Any, code: int) -> None:
    api = Api(bad={"b": code})
    came = {one.name: one for one in hand(served(api), items("a", "b", "c"))}
    assert {name: one.refused is None for name, one in came.items()} == {
        "a": True, "b": False, "c": True,
    }  # fmt: skip
    assert f"does not take b ({code}): bad geometry" in str(came["b"].refused)
    assert set(api.held) == {"/collections/twins"} | {
        f"/collections/twins/items/{name}" for name in ("a", "c")
    }


def test_only_what_the_api_lacks_is_handed_over(served: Any) -> None:
    api, some = Api(bad={"b": 500}), items("a", "b", "c")
    url = served(api)
    hand(url, some)
    api.bad, api.asked[:] = {}, []
    assert [one.there for one in hand(url, some)] == [True, False, True]
    assert set(api.posted) == {
        "/collections", "/collections/twins", "/collections/twins/items",
    }  # fmt: skip
    assert api.posted.count("/collections/twins/items") == 1
    some[0] = some[0] | {"properties": {"title": "another"}}
    assert [one.there for one in hand(url, some)] == [False, True, True]
    assert api.held["/collections/twins/items/a"]["properties"]["title"] == "another"
    assert not any(one.there for one in hand(url, some, "https://elsewhere.org"))
    del api.held["/collections/twins/items/c"]["properties"][SEAL]  # by somebody else
    assert [one.there for one in hand(url, some, "https://elsewhere.org")] == [True, True, False]


def test_an_api_that_fails_over_item_after_item_is_down(served: Any) -> None:
    names = [f"n{number}" for number in range(FAILURES + 2)]
    api, came = Api(bad=dict.fromkeys(names, 500)), list[Handed]()
    with pytest.raises(OutputError, match=rf"\(500\).* with {FAILURES} items in a row"):
        came.extend(publish(Transactions(served(api), 5), {"id": "a"}, iter(items(*names)), BASE))
    assert [one.name for one in came] == names[:FAILURES]
    refused = Api(bad=dict.fromkeys(names, 422))  # what is wrong lies with the items
    assert all(one.refused for one in hand(served(refused), items(*names)))


def test_the_token_goes_to_no_other_server(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its pages say: what lies behind them is handed over once more."""
    monkeypatch.setenv(transactions.TOKEN, "secret")
    thief = Api()
    api = Api(host=served(thief))
    url = served(api)
    hand(url, items("a", "b"))
    assert [one.there for one in hand(url, items("a", "b"))] == [True, False]
    assert thief.asked == []


def test_nothing_is_lost_on_the_way_to_another_address(served: Any) -> None:
    """A POST that is led on arrives as a GET."""
    there = served(Api())

    def moved(handler: Handler) -> bool:
        handler.send(301, b"", more={"Location": f"{there}{handler.path}"})
        return True

    to = Transactions(served(moved), 5)
    with pytest.raises(OutputError, match=rf"leads on to {there}/collections/twins/items: give"):
        to.put_item(dict(ITEM))
    with pytest.raises(OutputError, match=f"leads on to {there}"):
        to.greet()


def test_an_api_is_greeted_before_the_work(served: Any) -> None:
    said: dict[str, Any] = {}
    to = Transactions(served(lambda handler: handler.json(said)), 5)
    with pytest.raises(OutputError, match=r"is no STAC API, it does not say .* check the address"):
        to.greet()
    said["conformsTo"] = ["https://api.stacspec.org/v1.0.0/core"]
    assert "does not say that it takes items" in str(to.greet())
    said["conformsTo"] += ["https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"]
    assert to.greet() is None
    with pytest.raises(OutputError, match=r"does not let itself be asked \(401\): it wants"):
        Transactions(served(Api(refuse=401)), 5).greet()


def test_a_page_to_sign_in_is_no_success(served: Any) -> None:
    def portal(handler: Handler) -> bool:
        handler.send(200, b"\n<!doctype html><html>sign in</html>", "text/html")
        return True

    to = Transactions(served(portal), 5)
    with pytest.raises(OutputError, match=r"a web page instead of taking a b: check the address"):
        to.put_item(dict(ITEM))


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(OutputError, match=r"nothing can be published at http://127\.0\.0\.1:9"):
        Transactions("http://127.0.0.1:9", 1).put_item(dict(ITEM))
