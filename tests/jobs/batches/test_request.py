"""What a batch may be asked for, and what contradicts itself."""

from __future__ import annotations

import os
from typing import Any

import pytest

from geodiff.errors import UsageError
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.batches.work import Job

NAIP: dict[str, Any] = {"stac": "http://127.0.0.1:1", "collection": "naip"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "nothing says what to make"),
        (NAIP | {"items": "a.json"}, "leave out --stac"),
        ({"items": "a.json", "datetime": "2020"}, "leave out --stac, --collection and --datetime"),
        ({"items": "a.json", "cells": "c.gpkg"}, "units by themselves"),
        (NAIP | {"by": "cell"}, "give --cells FILE"),
        (NAIP | {"by": "item", "cells": "c.gpkg"}, "leave out --by item"),
        (NAIP | {"by": "town"}, "choose item, cell"),
        (NAIP | {"layer": "a"}, "--layer describes cells"),
        (NAIP | {"cell_id": "a"}, "--cell-id describes cells"),
        (NAIP | {"stac_order": "oldest"}, "each is a unit"),
        (NAIP | {"variants": 0}, "between 1 and 1000"),
        (NAIP | {"retries": -1}, "between 0 and 20"),
        (NAIP | {"on_error": "cry"}, "choose skip, fail"),
        (NAIP | {"workers": 2, "scheduler": "tcp://a:1"}, "give one of them"),
        (NAIP | {"workers": -1}, "must be 0 or more"),
        (NAIP | {"chart": 100}, "multiple of 128"),
        (NAIP | {"mode": "slow"}, "--mode slow is unknown"),
        (NAIP | {"name": "../a"}, "must be letters"),
        (NAIP | {"work_dir": "w"}, "leave it out"),
        (NAIP | {"public_url": "https://a"}, "is for --publish"),
        (NAIP | {"publish": "https://a"}, "give --public-url URL"),
        (NAIP | {"publish": "https://a", "public_url": "/srv"}, "--public-url /srv is no address"),
        (NAIP | {"out_dir": " "}, "--out-dir is empty"),
        (NAIP | {"res": 0}, "--res 0 must be a number above 0"),
        (NAIP | {"res": float("nan")}, "--res nan must be a number above 0"),
        (NAIP | {"crs": "junk"}, "unknown CRS 'junk'"),
        (NAIP | {"co": ("NOPE=1",)}, "no creation option 'NOPE=1'"),
        (NAIP | {"publish": "a", "public_url": "https://a"}, "no address of an API"),
        ({"cells": "c.gpkg", "fill": "stop"}, "--fill stop"),
        ({"cells": "c.gpkg", "datetime": "2020"}, "describes a STAC search"),
        ({"stac": "http://127.0.0.1:1"}, "name one with --collection"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        BatchRequest(**{"out_dir": "twins", **options})


def test_the_collection_bears_the_name_of_its_place() -> None:
    def name(place: str) -> str:
        return BatchRequest(place, **NAIP).collection_name

    assert name("a/twins/") == name("s3://bucket/twins") == "twins"
    assert name(".") == "twins"
    assert name("a/b c").startswith("b_c-")


def test_a_mosaic_has_the_options_of_the_batch() -> None:
    request = BatchRequest("twins", **NAIP, mode="fast", steps=3, crs="EPSG:26911", seed=5)
    mosaic = request.mosaic("out.tif", 9, bbox=(0, 0, 1, 1))
    assert (mosaic.mode, mosaic.steps, mosaic.crs, mosaic.seed) == ("fast", 3, "EPSG:26911", 9)
    assert mosaic.layout == "world"
    assert mosaic.catalogue == request.catalogue


def test_paths_hold_elsewhere_and_names_stay() -> None:
    """On a worker in another working directory."""
    for model, there in (
        ("m", os.path.abspath("m")),
        ("hub:org/m@v1", "hub:org/m@v1"),
        (None, None),
    ):
        sent = Job(BatchRequest("twins", **NAIP, model=model), {}, "", "", "").elsewhere().request
        assert (sent.model, sent.out_dir) == (there, os.path.abspath("twins"))
    bucket = Job(BatchRequest("s3://b/twins", **NAIP, work_dir="w"), {}, "", "", "").elsewhere()
    assert (bucket.request.out_dir, bucket.request.work_dir) == (
        "s3://b/twins",
        os.path.abspath("w"),
    )
