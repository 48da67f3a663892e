"""Requests take values as people have them, keep them in one form, and refuse what does nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyproj import CRS

from geodiff.errors import UsageError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import box_grid
from geodiff.jobs.embed import EmbedRequest
from geodiff.jobs.request import KINDS, SynthesizeRequest

BOX = (-117.76, 34.09, -117.75, 34.1)


def cells() -> EmbeddingGrid:
    grid = box_grid(BOX, res=10).cell_grid(16)
    values = np.zeros((*grid.window.shape, 3), np.float32)
    values[..., 0] = 1
    return EmbeddingGrid(values, np.ones(grid.window.shape, bool), grid, 16, 10.0, "test")


@pytest.mark.parametrize("box", [list(BOX), np.array(BOX), torch.tensor(BOX).double(), iter(BOX)])
def test_a_box_may_be_any_sequence(box: Any) -> None:
    request = SynthesizeRequest("a.tif", bbox=box)
    assert request.bbox == pytest.approx(BOX)
    assert isinstance(request.bbox, tuple)
    assert {type(number) for number in request.bbox} == {float}


def test_every_value_has_one_form_so_equal_requests_are_equal() -> None:
    plain = SynthesizeRequest(
        "a.tif", "m", bbox=BOX, crs="EPSG:32611", res=1.0, seed=7, steps=3, guidance=2.0,
        co=("LEVEL=9",), preview="a.png",
    )  # fmt: skip
    other = SynthesizeRequest(
        Path("a.tif"), Path("m"), bbox=np.array(BOX), crs=32611, res=np.float32(1),  # type: ignore[arg-type]
        seed=np.int64(7), steps=np.uint8(3), guidance=2, co=["LEVEL=9"], preview=Path("a.png"),  # type: ignore[arg-type]
        device=torch.device("cpu"),  # type: ignore[arg-type]
    )  # fmt: skip
    assert dataclasses.replace(other, device="auto") == plain
    assert hash(dataclasses.replace(other, device="auto")) == hash(plain)
    assert SynthesizeRequest("a.tif", bbox=BOX, crs=CRS(32611), res=1).crs == CRS(32611).to_wkt()  # type: ignore[arg-type]
    one = EmbedRequest(Path("b.tif"), Path("e.tif"), like=Path("c.tif"), bands=[3, 2, 1])  # type: ignore[arg-type]
    assert one == EmbedRequest("b.tif", "e.tif", like="c.tif", bands=(3, 2, 1))


def test_every_converted_field_exists() -> None:
    assert set(KINDS) <= {field.name for field in dataclasses.fields(SynthesizeRequest)}


def test_a_request_with_embeddings_in_memory_can_be_compared_and_hashed() -> None:
    one, two = (SynthesizeRequest("a.tif", embeddings=cells()) for _ in range(2))
    assert one == two
    assert len({one, two}) == 1
    assert dataclasses.replace(one, seed=1) != one
    assert one.sources == ()
    assert one.embeddings_name == "embeddings in memory"
    assert SynthesizeRequest("a.tif", embeddings=Path("e.tif")).embeddings == "e.tif"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "a"}, "--seed 'a' is not a whole number"),
        ({"seed": 1.5}, "--seed 1.5 is not a whole number"),
        ({"seed": None}, "--seed None is not a whole number"),
        ({"seed": -1}, "--seed -1 must be between 0 and 9223372036854775807"),
        ({"seed": 2**63}, "--seed 9223372036854775808 must be between 0 and"),
        ({"prior_seed": 2**63}, "--prior-seed 9223372036854775808 must be"),
        ({"bbox": 7}, "--bbox 7 is not 4 numbers: give west, south, east, north"),
        ({"bbox": "1,2,3,4"}, "--bbox '1,2,3,4' is not 4 numbers"),
        ({"bbox": (1, 2, 3)}, r"--bbox \(1, 2, 3\) is not 4 numbers"),
        ({"bbox": (1, 2, 3, "x")}, "--bbox 'x' is not a number"),
        ({"crs": 1.5}, "--crs 1.5 is no CRS"),
        ({"res": "wide"}, "--res 'wide' is not a number"),
        ({"steps": 2.5}, "--steps 2.5 is not a whole number"),
        ({"batch": "all"}, "--batch 'all' is not a whole number"),
        ({"device": "tpu"}, "--device tpu is unknown; choose auto, cpu, cuda, mps"),
        ({"device": 3}, "--device 3 is unknown"),
        ({"mode": 3}, "--mode 3 is unknown"),
        ({"model": 3}, "--model 3 is no path"),
        ({"co": 3}, "--co 3 is no sequence of texts"),
        ({"embeddings": 3, "bbox": None}, "--embeddings 3 is no path"),
        ({"reference": "r.tif", "scale": 5}, "--scale 5 is not 2 numbers"),
        ({"reference": "r.tif", "bands": (1, 2)}, r"--bands \(1, 2\) is not 3 numbers"),
    ],
)
def test_what_makes_no_value_is_one_usage_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        SynthesizeRequest("a.tif", **({"bbox": BOX} | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bbox": BOX, "fill": "nearest"}, "--fill nearest tells what to do where a source"),
        ({"like": "a.tif", "fill": "stop"}, "--fill stop tells what to do where a source"),
        ({"like": "a.tif", "bbox_crs": "EPSG:4326"}, "--bbox-crs EPSG:4326 describes a box"),
        ({"reference": "a.tif", "bbox_crs": 4326}, "--bbox-crs EPSG:4326 describes a box"),
        ({"bbox": BOX, "gsd": 0.6}, "--gsd 0.6 is for a raster without CRS, the grid of a --bbox"),
        ({"like": "a.tif", "gsd": 0}, "--gsd 0 must be a number of metres above 0"),
        ({"like": "a.tif", "gsd": float("nan")}, "--gsd nan must be a number of metres above 0"),
    ],
)
def test_options_that_would_do_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SynthesizeRequest("b.tif", **given)
    if "fill" not in given and "reference" not in given:
        with pytest.raises(UsageError, match=message):
            EmbedRequest("a.tif", "b.tif", **given)


@pytest.mark.parametrize("seed", [0, 1, 2**53 + 1, 2**63 - 1])
def test_every_seed_that_is_taken_is_kept_exactly(seed: int) -> None:
    assert SynthesizeRequest("a.tif", bbox=BOX, seed=seed, prior_seed=seed).seed == seed
