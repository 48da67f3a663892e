"""What a catalogue gives that is no item spoils no other, and is named in one line."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pystac
import pytest

from geodiff.errors import DataError
from geodiff.geo.search import Search, search
from geodiff.geo.stac_items import Unusable, read_items
from geodiff.geo.survey import survey
from tests.stac import catalogue, pointing
from tests.stac_live import answering, page, served

WEB = "https://example.com/a.tif"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> pystac.Item:
    return pointing(tmp_path_factory.mktemp("item"), WEB)


def odd(item: pystac.Item, name: str, **changes: Any) -> dict[str, Any]:
    """An item with other fields; ``a__b`` is the field b of a."""
    facts = deepcopy(item.to_dict(False, False)) | {"id": name}
    for place, value in changes.items():
        *outer, last = place.split("__")
        inner = facts
        for key in outer:
            inner = inner[key]
        inner[last] = value
    return facts


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "junk date": (
        {"properties__datetime": "soon"},
        r"no STAC item \(its datetime 'soon' is no date\)",
    ),
    "no date": ({"properties__datetime": None}, "start_datetime and end_datetime"),
    "numeric date": ({"properties__datetime": 12}, "its datetime '12' is no date"),
    "junk span": (
        {"properties": {"datetime": None, "start_datetime": "x", "end_datetime": "y"}},
        "its start_datetime 'x' is no date",
    ),
    "date of no calendar": ({"properties__datetime": "0001-01-01T00:00:00+05:00"}, "no STAC item"),
    "words as bbox": ({"bbox": ["a", "b", "c", "d"]}, "no STAC item"),
    "long bbox": ({"bbox": [1, 2, 3, 4, 5]}, "its bbox is no box"),
    "numeric href": ({"assets__image__href": 5}, r"gives no address \(href\) for its asset 'im"),
    "empty href": ({"assets__image__href": " "}, r"gives no address \(href\)"),
    "no href": ({"assets__image": {"type": "image/tiff"}}, r"gives no address \(href\)"),
    "numeric asset": ({"assets__image": 7}, "no STAC item"),
    "list of assets": ({"assets": [1]}, "no STAC item"),
    "file": ({"assets__image__href": "file:///etc/passwd"}, "not on the web: refused"),
    "numeric type": ({"assets__image": {"href": WEB, "type": 5, "roles": 7}}, "no asset that is"),
    "numeric links": ({"links": [1]}, "no STAC item"),
    "no properties": ({"properties": None}, "no STAC item"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_item_is_left_out_and_named(kind: str, good: pystac.Item, tmp_path: Path) -> None:
    changes, told = ODD[kind]
    one = odd(good, "odd", **changes)
    with served(tmp_path, answering(page(one, good))) as server:
        query = Search(server.url, ("naip",), datetime="2020")
        left_out: list[Unusable] = []
        assert [item.name for item in search(query, left_out)] == ["made"]
        known = survey(query)
    assert [item.name for item in known.found] == ["made"]
    for (named,) in (left_out, known.unusable):
        assert named.name == "odd"
        assert "\n" not in named.reason
    with served(tmp_path, answering(page(one))) as server:
        alone = rf"found one item, which cannot be used: odd: .*{told}"
        with pytest.raises(DataError, match=alone):
            search(Search(server.url, ("naip",)), [])


def test_numbers_as_text_are_a_bbox(good: pystac.Item) -> None:
    (item,) = read_items([odd(good, "a", bbox=["1", 2, "3", 4])], None)
    assert item.bbox == [1.0, 2.0, 3.0, 4.0]


def test_bands_that_are_no_list_of_bands(good: pystac.Item, tmp_path: Path) -> None:
    for bands in (5, ["red", "green", "blue"], [None, {"name": "red"}]):
        one = odd(good, "made")
        one["assets"]["image"]["bands"] = bands
        with served(tmp_path, answering(page(one))) as server:
            (found,) = search(Search(server.url, ("naip",)))
            assert found.bands is None


def test_items_without_the_asset_may_be_left_out(tmp_path: Path) -> None:
    lacking = pointing(tmp_path, "/x/a.tif", "lacking")
    lacking.assets = {}
    root = catalogue(tmp_path, [pointing(tmp_path, "/x/a.tif"), lacking])
    left_out: list[Unusable] = []
    assert [one.name for one in search(Search(root), left_out)] == ["made"]
    assert [one.name for one in left_out] == ["lacking"]
    with pytest.raises(DataError, match="the item lacking has no asset that is an image"):
        search(Search(root))
