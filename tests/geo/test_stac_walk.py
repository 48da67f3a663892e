"""A static catalogue is walked to its end, whatever its documents link to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pystac
import pytest

from geodiff.errors import DataError
from geodiff.geo.search import Search, search
from geodiff.geo.stac_items import Unusable
from tests.stac import catalogue, pointing
from tests.stac_live import Handler, served

WEB = "https://example.com/a.tif"


def write(path: Path, kind: str, *links: tuple[str, str], **more: Any) -> Path:
    """A catalogue or collection with links (rel, href)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{"rel": rel, "href": href} for rel, href in links]
    facts = {"type": kind, "id": path.parent.name, "stac_version": "1.0.0", "description": "tests",
             "links": listed, **more}  # fmt: skip
    path.write_text(json.dumps(facts))
    return path


@pytest.fixture
def item(tmp_path: Path) -> Path:
    """An item beside which catalogues are written."""
    made = pointing(tmp_path, WEB)
    made.collection_id = None
    path = tmp_path / "made.json"
    path.write_text(json.dumps(made.to_dict(False, False)))
    return path


def names(root: Path | str) -> list[str]:
    return [found.name for found in search(Search(str(root)))]


def test_catalogues_that_link_to_themselves_end(item: Path) -> None:
    root = item.with_name("root.json")
    here = [
        ("child", "./root.json"),
        ("child", "#"),
        ("item", "made.json"),
        ("item", "./made.json"),
    ]
    write(root, "Catalog", *here, ("child", "a/b.json"), ("item", ""), ("child", "root.json"))
    write(item.parent / "a" / "b.json", "Catalog", ("child", "../root.json"), ("child", "b.json"))
    assert names(root) == ["made"]


def test_catalogues_without_an_end_are_one_line(tmp_path: Path) -> None:
    def deeper(handler: Handler) -> bool:
        link = {"rel": "child", "href": "./more/catalog.json"}
        return handler.json(
            {"type": "Catalog", "id": "a", "stac_version": "1.0.0", "links": [link]}
        )

    with served(tmp_path, deeper) as server:
        with pytest.raises(DataError, match="seem to link to each other without an end") as caught:
            search(Search(f"{server.url}/catalog.json"))
        assert len(server.asked) < 60
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_collection_is_a_root(item: Path) -> None:
    """As geodiff batch writes it; its items may leave out what they belong to."""
    root = write(item.parent / "naip" / "collection.json", "Collection", ("item", "../made.json"))
    (found,) = search(Search(str(root), ("naip",)))
    assert (found.name, found.collection, found.link) == ("made", "naip", str(item))
    with pytest.raises(DataError, match="found no item for other"):
        search(Search(str(root), ("other",)))


def test_items_that_are_gone_are_left_out(item: Path) -> None:
    (item.parent / "html.json").write_text("<html>")
    root = write(
        item.parent / "root.json", "Catalog",
        *(("item", name) for name in ("gone.json", "html.json", "made.json", "root2.json")),
    )  # fmt: skip
    write(item.parent / "root2.json", "Catalog")
    with served(item.parent) as server:
        for url in (str(root), f"{server.url}/root.json"):
            left_out: list[Unusable] = []
            assert [one.name for one in search(Search(url), left_out)] == ["made"]
            ends = [Path(one.name).name for one in left_out]
            assert ends == ["gone.json", "html.json", item.parent.name]  # the id of root2.json
            assert left_out[0].reason.startswith("it cannot be read: ")
            with pytest.raises(DataError, match=r"its item .*gone\.json: "):
                search(Search(url))


def test_a_catalogue_that_is_gone_is_an_error(item: Path) -> None:
    links = [("item", "made.json"), ("child", "gone/catalog.json")]
    root = write(item.parent / "root.json", "Catalog", *links)
    with pytest.raises(DataError, match=r"its catalogue .*gone/catalog\.json: .*cannot be read"):
        search(Search(str(root)), [])
    write(item.parent / "gone" / "catalog.json", "Feature")
    with pytest.raises(DataError, match=r"its catalogue .*catalog\.json: it is a single item"):
        search(Search(str(root)), [])


def test_the_tree_is_walked_in_its_order(tmp_path: Path) -> None:
    root = catalogue(tmp_path, [pointing(tmp_path, WEB, name) for name in ("b", "a", "c")])
    assert names(root) == ["a", "b", "c"]
    whole = pystac.Catalog.from_file(root)
    assert {one.id for one in whole.get_items(recursive=True)} == {"a", "b", "c"}
