"""Items are handed to an API: created, else replaced, with addresses that hold anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geodiff.errors import OutputError
from geodiff.geo import publishing, stac_client
from geodiff.geo.publishing import Transactions, absolute, publish
from tests.stac_live import Handler, Server

ITEM = {
    "id": "a b", "collection": "twins", "properties": {},
    "links": [
        {"rel": "root", "href": "../collection.json"},
        {"rel": "derived_from", "href": "../model/m.json"},
        {"rel": "derived_from", "href": "https://example.org/a.json"},
    ],
    "assets": {"data": {"href": "./a.tif"}},
}  # fmt: skip


class Api:
    """A transaction extension that holds things in memory; ``busy`` answers come first."""

    def __init__(self, busy: int = 0, refuse: int = 0, bad: str = "") -> None:
        self.held: dict[str, Any] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.busy, self.refuse, self.bad = busy, refuse, bad  # the id of an item that it rejects

    def __call__(self, handler: Handler) -> bool:
        length = int(handler.headers.get("Content-Length", 0))
        body = json.loads(handler.rfile.read(length))
        handler.headers.replace_header("Content-Length", "0")
        self.asked.append((handler.command, handler.path, handler.headers.get("Authorization")))
        if self.busy:
            self.busy -= 1
            handler.send(503, b"later")
        elif self.refuse:
            handler.send(self.refuse, b"no\nway")
        elif body["id"] == self.bad:
            handler.send(400, b"bad geometry")
        elif handler.command == "POST" and f"{handler.path}/{body['id']}" in self.held:
            handler.send(409, b"it exists")
        else:
            name = handler.path if handler.command == "PUT" else f"{handler.path}/{body['id']}"
            self.held[name.replace("%20", " ")] = body
            handler.send(200, b"{}")
        return True


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac_client, "BACKOFF", 0.01)
    monkeypatch.setattr(stac_client, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(Handler, "do_PUT", Handler.do_GET, raising=False)


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
    monkeypatch.setenv(publishing.TOKEN, "secret")
    api = Api(busy=2)
    to = Transactions(served(api) + "/", 5)
    for title in ("one", "two"):
        collection = {"id": "twins", "title": title, "links": [{"rel": "item", "href": "./x"}]}
        item = ITEM | {"properties": {"title": title}}
        taken = publish(to, collection, iter([item]), "https://files.org/twins/")
        assert list(taken) == [("a b", None)]
    assert set(api.held) == {"/collections/twins", "/collections/twins/items/a b"}
    assert api.held["/collections/twins"] == {"id": "twins", "title": "two", "links": []}
    kept = api.held["/collections/twins/items/a b"]
    assert kept["properties"] == {"title": "two"}
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


def test_an_item_that_is_not_taken_keeps_no_other_away(served: Any) -> None:
    api = Api(bad="b")
    items = [ITEM | {"id": name} for name in ("a", "b", "c")]
    base = "https://files.org/twins"
    came = dict(publish(Transactions(served(api), 5), {"id": "twins"}, iter(items), base))
    assert {name: error is None for name, error in came.items()} == {
        "a": True, "b": False, "c": True,
    }  # fmt: skip
    assert "does not take b (400): bad geometry" in str(came["b"])
    assert set(api.held) == {"/collections/twins"} | {
        f"/collections/twins/items/{name}" for name in ("a", "c")
    }


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
