"""A STAC collection guides a mosaic: found once, a function of the place, and told of after."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine

from geodiff.errors import DataError, UsageError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.jobs.embed import EmbedRequest, embed
from geodiff.jobs.embed import steps as embed_steps
from geodiff.jobs.mosaic import worker
from geodiff.jobs.mosaic.catalogue import Catalogue
from geodiff.jobs.mosaic.sources import REACH, open_source
from geodiff.jobs.mosaic.worker import Task
from geodiff.jobs.plan import make_plan, target_grid
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import facts_of, plan, synthesize
from geodiff.models.bundle import Model
from geodiff.steps import drain
from tests.jobs.rasters import UTM, read_raster, texture, write_raster
from tests.stac import catalogue
from tests.stac_live import item, landing, served

SETTINGS: dict[str, Any] = {
    "bbox_crs": "EPSG:32610", "crs": "EPSG:32610", "res": 0.6, "steps": 2, "guidance": 1.0,
    "device": "cpu", "precision": "fp32", "collection": ("naip",), "command": "geodiff synthesize",
}  # fmt: skip


def box(west: int, north: int, width: int, height: int) -> tuple[float, float, float, float]:
    """Pixels counted from the images' corner as a box in EPSG:32610."""
    left, top = UTM.c + 0.6 * west, UTM.f - 0.6 * north
    return left, top - 0.6 * height, left + 0.6 * width, top


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    """Two images side by side with a gap between them, and an older one over the first."""
    folder, made = tmp_path_factory.mktemp("images"), []
    for name, east, day in (
        ("left", 0, "2020-06-01"), ("right", 380, "2020-07-01"), ("old", 0, "2016-06-01"),
    ):  # fmt: skip
        place = Affine(0.6, 0.0, UTM.c + 0.6 * east, 0.0, -0.6, UTM.f)
        pixels = texture(320, 300, sum(map(ord, name)))
        path = write_raster(folder / f"{name}.tif", pixels, "EPSG:32610", place)
        described = item(path, str(path), day)
        described.assets["image"].extra_fields["eo:bands"] = []
        made.append(described)
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, images: list[pystac.Item]) -> str:
    return catalogue(tmp_path_factory.mktemp("stac"), images)


def test_the_plan_tells_what_was_found(root: str, folder: Path, tmp_path: Path) -> None:
    request = SynthesizeRequest(
        out=str(tmp_path / "out.tif"), model=str(folder), stac=root, bbox=box(-30, 0, 300, 100),
        **SETTINGS,
    )  # fmt: skip
    made = plan(request)
    assert made.coverage == pytest.approx(0.9, abs=0.01)
    assert "naip" in made.source
    assert "3 items of 2016-06-01 to 2020-07-01 (2016: 1, 2020: 2), newest first" in made.source
    assert made.found == {
        "items": 3, "items in the box": 2, "dates": "2016-06-01 to 2020-07-01",
        "items of 2016": 1, "items of 2020": 2,
    }  # fmt: skip
    assert any("the rest goes by the nearest valid cell" in note for note in made.notes)
    one = plan(replace(request, stac_order="same-year"))
    assert any("give --datetime 2020" in note for note in one.notes)
    with pytest.raises(DataError, match=r"covers 89.\d% of the mosaic: give --fill nearest"):
        plan(replace(request, fill="stop"))
    with pytest.raises(DataError, match=r"found no item for naip, bbox .*, 1999: check"):
        plan(replace(request, datetime="1999"))
    with pytest.raises(DataError, match="covers nothing of the box"):
        plan(replace(request, bbox=box(-900, 0, 100, 100)))


def test_mosaics_of_overlapping_boxes_agree(root: str, folder: Path, tmp_path: Path) -> None:
    """Over the gap between the images as well, which is filled from both sides."""
    pixels = []
    for name, west, width in (("one", 40, 330), ("two", 250, 200)):
        result = synthesize(
            tmp_path / f"{name}.tif", model=str(folder), stac=root, bbox=box(west, 100, width, 90),
            layout="world", chart=256, **SETTINGS,
        )  # fmt: skip
        assert len(result.plan.charts) > 1
        pixels.append(read_raster(result.path))
    np.testing.assert_array_equal(pixels[0][:, :, 210:330], pixels[1][:, :, :120])


def test_the_mosaic_names_its_images(
    root: str, images: list[pystac.Item], folder: Path, tmp_path: Path
) -> None:
    settings = SETTINGS | {"stac": root, "bbox": box(0, 0, 64, 64), "model": str(folder)}
    result = synthesize(tmp_path / "out.tif", datetime="2020", **settings)
    links = json.loads((tmp_path / "out.json").read_text())["links"]
    assert {link["rel"] for link in links} == {"derived_from"}
    assert [Path(link["href"]).stem for link in links] == ["right", "left"]  # 2020 alone
    with rasterio.open(result.path) as dataset:
        assert "STAC collection naip" in dataset.tags()["GEODIFF_SOURCE"]
    before = Path(images[0].assets["image"].href).read_bytes()
    with pytest.raises(UsageError, match="is a source: sources are never overwritten"):
        synthesize(images[0].assets["image"].href, overwrite=True, **settings)
    assert Path(images[0].assets["image"].href).read_bytes() == before


def test_what_was_found_goes_along_to_workers(
    root: str, images: list[pystac.Item], model: Model, folder: Path, tmp_path: Path
) -> None:
    """A worker asks no catalogue, and another search is another mosaic for the journal."""

    def api(handler: Any) -> bool:
        here = f"http://{handler.headers['Host']}"
        found = [one.to_dict(False, False) | {"collection": "naip"} for one in images]
        page = {"type": "FeatureCollection", "features": found, "links": []}
        return bool(handler.json(page if handler.path == "/search" else landing(here)))

    with served(tmp_path, api) as server:
        request = SynthesizeRequest(
            out=str(tmp_path / "out.tif"), model=str(folder), stac=server.url, stac_any_href=True,
            bbox=box(0, 0, 130, 64), layout="world", chart=128, **SETTINGS,
        )  # fmt: skip
        grid = target_grid(request, model)
        source = open_source(request, model, grid)
        planned = make_plan(request, model, grid, source)
        other = open_source(replace(request, datetime="2016"), model, grid)
    elsewhere = replace(request, out=str(tmp_path / "not here" / "out.tif"))
    task = Task(elsewhere, grid, model.hash, source.imagery)
    painted = worker.paint_remote(pickle.loads(pickle.dumps(task.elsewhere())), planned.charts[0])
    assert painted.tiles
    facts = [facts_of(request, model, planned, one)["source"] for one in (source, other)]
    assert facts[0] != facts[1]
    assert source.imagery is not None
    window = source.imagery.source.placement.window
    assert window.row <= grid.row - 64 * REACH // 4  # cells of 16 px in this model


def test_images_become_an_embedding_grid(root: str, model: Model, folder: Path) -> None:
    images = {"stac": root, "collection": ("naip",), "datetime": "2020", "crs": "EPSG:32610"}
    place = {"bbox": box(0, 0, 300, 200), "bbox_crs": "EPSG:32610", "res": 0.6}
    grid = embed(model, **images, **place)
    left = Path(root).parents[2] / "images0" / "left.tif"
    assert left.exists()
    alone = embed(model, left, **place)
    np.testing.assert_array_equal(grid.values[grid.valid], alone.values[grid.valid])
    assert grid.valid.mean() > 0.8
    assert grid.source.endswith("left.json")
    out = Path(root).with_name("cells.tif")
    place["like"] = str(left)
    request = EmbedRequest(
        None, str(out), str(folder), stac=root, collection=("naip",), like=str(left)
    )
    drain(embed_steps(request))
    assert EmbeddingGrid.open(out).grid.crs == grid.grid.crs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"stac": "planetary-computer", "reference": "a.tif"},
            "a.tif and --stac planetary",
        ),
        ({"collection": ("naip",), "text": "x"}, '--text "x" and --collection naip are both'),
        ({"stac": "https://example.com"}, "many collections: name one with --collection"),
        ({"stac": "example.com", "collection": ("naip",)}, "is no catalogue: give planetary-comp"),
        ({"stac": " "}, "--stac is empty"),
        ({"datetime": "2020"}, "--datetime describes a STAC search: give --stac"),
        ({"stac_requester_pays": True}, "--stac-requester-pays describes a STAC search"),
        ({"stac": "earth-search", "stac_order": "best"}, "--stac-order best is unknown"),
        ({"stac": "earth-search", "stac_timeout": 0}, "--stac-timeout 0 must be"),
        ({"stac": "earth-search", "prior_seed": 1}, "--prior-seed lays out a mosaic without"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SynthesizeRequest(out="o.tif", bbox=(1, 2, 3, 4), **options)


def test_short_names_and_their_collection() -> None:
    request = SynthesizeRequest(out="o.tif", bbox=(1, 2, 3, 4), collection="naip")
    alone = Catalogue.of(request)
    named = Catalogue.of(replace(request, stac="planetary-computer", collection=()))
    assert alone == named
    assert named is not None
    assert named.collections == ("naip",)
    assert named.url.startswith("https://planetarycomputer.microsoft.com/")
    assert "planetarycomputer.microsoft.com" in named.words
    with pytest.raises(UsageError, match="leave one out"):
        EmbedRequest("a.tif", "b.tif", stac="earth-search")
    with pytest.raises(UsageError, match="nothing is given to embed"):
        EmbedRequest(None, "b.tif")
    with pytest.raises(UsageError, match="needs a place: give --bbox"):
        embed(None, stac="earth-search")
