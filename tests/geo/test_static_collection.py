"""A static collection grows, keeps what it had, and is valid STAC."""

from __future__ import annotations

from typing import Any

import pystac
import pytest
from pystac.validation import JsonSchemaSTACValidator
from pystac.validation.local_validator import get_local_schema_cache

from geodiff.geo.static_collection import as_member, collection_of, item_links, union


def item(name: str, west: float, created: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "id": name, "bbox": [west, 10.0, west + 1, 11.0], "links": [],
        "properties": {"created": created, "proj:code": "EPSG:32610"},
    }  # fmt: skip


def valid(collection: dict[str, Any]) -> dict[str, Any]:
    assert get_local_schema_cache()
    kind = pystac.STACObjectType.COLLECTION
    JsonSchemaSTACValidator().validate(collection, kind, "1.1.0", [])
    return collection


def test_items_join_those_that_were_there() -> None:
    first = valid(collection_of("twins", "naip", [item("b", -100.0)]))
    both = valid(collection_of("twins", "naip", [item("a", -98, "2026-02-01T00:00:00Z")], first))
    assert [link["href"] for link in item_links(both)] == ["./items/a.json", "./items/b.json"]
    assert both["extent"]["spatial"]["bbox"] == [[-100.0, 10.0, -97.0, 11.0]]
    times = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]
    assert both["extent"]["temporal"]["interval"] == [times]
    assert both["summaries"] == {"geodiff:synthetic": [True], "proj:code": ["EPSG:32610"]}
    assert collection_of("twins", "naip", [item("a", -98, "2026-02-01T00:00:00Z")], both) == both
    with pytest.raises(ValueError, match="needs an item"):
        collection_of("twins", "naip", [])


def test_a_member_links_up_and_to_its_model() -> None:
    own = {"rel": "derived_from", "href": "https://example.org/a.json"}
    model = {"href": "../model/m.json", "name": "naip-small"}
    member = as_member(item("a", 0) | {"links": [own]}, "twins", model, {"geodiff:variant": 2})
    assert member["collection"] == "twins"
    assert member["properties"]["geodiff:variant"] == 2
    rels = {link["rel"]: link["href"] for link in member["links"][:3]}
    assert rels == dict.fromkeys(("root", "parent", "collection"), "../collection.json")
    assert member["links"][3] == own
    assert member["links"][4]["mlm:name"] == "naip-small"


def test_boxes_across_the_antimeridian_reach_around_the_world() -> None:
    assert union([[170.0, -10.0, -170.0, 5.0], [0.0, 0.0, 1.0, 9.0]]) == [-180, -10, 180, 9]
    assert union([]) == [-180, -90, 180, 90]
