"""Sources: embeddings in memory are those of the file, and what a mosaic came from is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

import geodiff
from geodiff.errors import DataError, UsageError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import raster_grid
from geodiff.jobs.embed import EmbedRequest, embed
from geodiff.jobs.embed import steps as embed_steps
from geodiff.jobs.mosaic.sources import identity, open_source
from geodiff.jobs.plan import target_grid
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import Result, painter_of, plan, synthesize
from geodiff.models.bundle import Model
from geodiff.steps import drain
from tests.jobs.rasters import UTM, read_raster, texture, write_raster


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A raster of 64 x 80 px: 4 x 5 cells."""
    return write_raster(tmp_path / "scene.tif", texture(64, 80))


def paint(out: Path, model: Model, **options: Any) -> Result:
    settings = {"model": model, "steps": 1, "device": "cpu", "precision": "fp32"}
    return synthesize(out, **(settings | options))


def tags_and_links(result: Result) -> tuple[dict[str, str], list[str]]:
    with rasterio.open(result.path) as dataset:
        tags = dataset.tags()
    content = json.loads(Path(result.item).read_text("utf-8"))
    return tags, [link["href"] for link in content["links"] if link["rel"] == "derived_from"]


@pytest.mark.parametrize("layout", ["single", "world"])
def test_embeddings_in_memory_give_the_pixels_of_the_saved_ones(
    scene: Path, model: Model, tmp_path: Path, layout: str
) -> None:
    cells = embed(model, scene)
    cells = replace(cells, valid=cells.valid & (np.arange(5) != 2))  # with a hole
    cells.save(tmp_path / "cells.tif")
    charts = {"layout": layout} | ({"chart": 128} if layout == "world" else {})
    saved = paint(tmp_path / "saved.tif", model, embeddings=tmp_path / "cells.tif", **charts)
    held = paint(tmp_path / "held.tif", model, embeddings=cells, **charts)
    assert np.array_equal(read_raster(saved.path), read_raster(held.path))
    assert held.plan.source == "embeddings in memory"
    assert saved.plan.source == "embeddings cells.tif"
    tags, _ = tags_and_links(held)
    assert tags["GEODIFF_SOURCE"] == "embeddings in memory"
    assert json.loads(tags["GEODIFF_DERIVED_FROM"]) == ["scene.tif"]
    box = tuple(raster_grid(scene).geobox.boundingbox.bbox)
    part = {"bbox": box, "bbox_crs": "EPSG:32610", "embeddings": cells}
    assert plan(SynthesizeRequest("b.tif", str(model.path), **part)).coverage == 0.8  # type: ignore[arg-type]


def test_embeddings_in_memory_of_another_encoder_are_refused(
    scene: Path, model: Model, tmp_path: Path
) -> None:
    foreign = replace(embed(model, scene), encoder="other")
    with pytest.raises(DataError, match="embeddings in memory was made by the encoder other"):
        paint(tmp_path / "a.tif", model, embeddings=foreign)


def test_a_mosaic_names_the_raster_behind_its_embeddings(
    scene: Path, folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain(embed_steps(EmbedRequest(str(scene), str(tmp_path / "cells.tif"), str(folder))))
    assert EmbeddingGrid.open(tmp_path / "cells.tif").source == "scene.tif"
    beside = paint(tmp_path / "a.tif", model, embeddings=tmp_path / "cells.tif")
    tags, links = tags_and_links(beside)
    assert json.loads(tags["GEODIFF_DERIVED_FROM"]) == [str(tmp_path / "cells.tif"), str(scene)]
    assert links == ["./cells.tif", "./scene.tif"]
    (tmp_path / "moved").mkdir()
    (tmp_path / "cells.tif").rename(tmp_path / "moved" / "cells.tif")
    away = paint(tmp_path / "b.tif", model, embeddings=tmp_path / "moved" / "cells.tif")
    assert tags_and_links(away)[1] == ["./moved/cells.tif", "scene.tif"]


def test_a_mosaic_of_a_reference_names_it(scene: Path, model: Model, tmp_path: Path) -> None:
    made = paint(tmp_path / "a.tif", model, reference=scene)  # a pathlib.Path
    assert tags_and_links(made)[1] == ["./scene.tif"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 32 x 48 px without a place."""
    return write_raster(tmp_path / "photo.png", texture(32, 48), crs=None)


def test_a_grid_without_crs_takes_the_given_ground_sample_distance(
    photo: Path, folder: Path, model: Model, tmp_path: Path
) -> None:
    def planned(**options: Any) -> Any:
        return plan(SynthesizeRequest(str(tmp_path / "a.tif"), str(folder), **options))

    assert planned(reference=photo).gsd == model.gsd
    assert "--gsd METRES" in planned(reference=photo).notes[0]
    assert planned(reference=photo, gsd=0.3).gsd == 0.3
    assert planned(like=photo, gsd=0.4).gsd == 0.4
    cells = embed(model, photo, gsd=0.35)
    assert cells.gsd == 0.35
    assert planned(embeddings=cells).gsd == 0.35  # the grid knows it
    assert planned(embeddings=cells, gsd=0.5).gsd == 0.5


def test_the_given_distance_reaches_the_painter(
    photo: Path, scene: Path, folder: Path, model: Model
) -> None:
    def told(**options: Any) -> float | None:
        request = SynthesizeRequest("a.tif", str(folder), **options)
        grid = target_grid(request, model)
        return painter_of(request, model, grid, open_source(request, model, grid)).gsd

    assert told(reference=photo, gsd=0.3) == 0.3
    assert told(embeddings=embed(model, photo, gsd=0.35)) == 0.35
    assert told(reference=scene) is None  # each chart asks its own place


def test_a_raster_whose_crs_tells_the_distance_refuses_another(
    scene: Path, folder: Path, model: Model, tmp_path: Path
) -> None:
    for place in ({"reference": scene}, {"like": scene}):
        with pytest.raises(UsageError, match=r"--gsd 0.3 is for .* EPSG:32610, which makes 0\.6 m"):
            plan(SynthesizeRequest(str(tmp_path / "a.tif"), str(folder), gsd=0.3, **place))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--gsd 0\.3 is for a raster without CRS"):
        plan(
            SynthesizeRequest(
                str(tmp_path / "a.tif"), str(folder), gsd=0.3, embeddings=embed(model, scene)
            )
        )
    with pytest.raises(UsageError, match=r"--gsd 0\.3 is for a raster without CRS"):
        embed(model, scene, gsd=0.3)


def test_embedding_without_crs_or_distance_says_what_is_assumed(
    photo: Path, folder: Path, tmp_path: Path
) -> None:
    def notes(**options: Any) -> list[str]:
        request = EmbedRequest(
            str(photo), str(tmp_path / "e.tif"), str(folder), overwrite=True, **options
        )
        return [note for step in embed_steps(request) for note in step.notes]

    assert notes() == ["no CRS: 0.6 m per pixel is assumed; give --gsd METRES if it is another"]
    assert notes(gsd=0.6) == []


def turned(path: Path, degrees: float) -> Path:
    """A raster of 96 x 96 px around the middle of the scene, turned about it."""
    angle, x, y = math.radians(degrees), UTM.c + 0.6 * 40, UTM.f - 0.6 * 32
    cos, sin = 0.6 * math.cos(angle), 0.6 * math.sin(angle)
    place = Affine(cos, sin, x - 48 * (cos + sin), sin, -cos, y - 48 * (sin - cos))
    return write_raster(path, texture(96, 96), transform=place)


def test_a_rotated_reference_is_warped_onto_a_grid_that_is_given(
    scene: Path, model: Model, tmp_path: Path
) -> None:
    path = turned(tmp_path / "turned.tif", 10)
    out = str(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"is rotated .*--bbox or --like"):
        plan(SynthesizeRequest(out, str(model.path), reference=path))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"is rotated .*--bbox or --like"):
        embed(model, path)
    like = paint(tmp_path / "like.tif", model, reference=path, like=scene)
    assert raster_grid(like.path).geobox == raster_grid(scene).geobox
    assert like.plan.coverage == 1
    box = tuple(raster_grid(scene).geobox.boundingbox.bbox)
    where = {"bbox": box, "bbox_crs": "EPSG:32610"}
    boxed = paint(tmp_path / "box.tif", model, reference=path, **where)
    assert boxed.plan.grid.geobox.affine.a == pytest.approx(0.6)  # the raster's own pixel size
    assert embed(model, path, like=scene).valid.all()
    with pytest.raises(DataError, match="is rotated"):
        paint(tmp_path / "b.tif", model, reference=scene, like=path)


def test_embed_takes_the_options_of_the_command(scene: Path, model: Model, tmp_path: Path) -> None:
    box = tuple(raster_grid(scene).crop(geodiff.Window(16, 16, 32, 48)).geobox.boundingbox.bbox)
    part = embed(model, scene, bbox=np.array(box), bbox_crs=32610)
    assert part.grid.crs == raster_grid(scene).crs
    assert part.source == "scene.tif"
    coarse = embed(model, scene, bbox=box, bbox_crs="EPSG:32610", crs="EPSG:32611", res=1.2)
    assert (str(coarse.grid.crs), coarse.grid.geobox.affine.a) == ("EPSG:32611", 1.2 * 16)
    grey = embed(model, scene, bands=[1, 1, 1])
    assert grey != embed(model, scene)
    deep = write_raster(tmp_path / "deep.tif", texture(64, 80).astype(np.uint16) * 16)
    assert embed(model, deep, scale=[0, 255 * 16]).values == pytest.approx(
        embed(model, scene).values, abs=1e-6
    )
    assert embed(str(model.path), scene, device="cpu") == embed(model, str(scene))
    for given, message in (
        ({"grid": raster_grid(scene), "bbox": box}, "bbox would do nothing"),
        ({"out": "e.tif"}, r"saves nothing, so leave out out; see grid\.save"),
        ({"res": 1.0}, "--crs and --res need --bbox"),
    ):
        with pytest.raises(UsageError, match=message):
            embed(model, scene, **given)  # type: ignore[arg-type]


def test_a_folder_is_another_once_a_file_in_it_is(tmp_path: Path) -> None:
    inside = tmp_path / "cells.zarr" / "embedding" / "0.0.0"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"abc")
    before = identity(str(tmp_path / "cells.zarr"))
    assert identity(str(tmp_path / "cells.zarr")) == before
    inside.write_bytes(b"abcd")
    assert identity(str(tmp_path / "cells.zarr")) != before
