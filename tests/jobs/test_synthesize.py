"""The same request gives the same pixels, on exactly the grid that was asked for, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.jobs import synthesize as job
from geodiff.jobs.embed import EmbedRequest
from geodiff.jobs.embed import steps as embed_steps
from geodiff.jobs.mosaic import painting, room
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import Result, plan, synthesize
from geodiff.models.bundle import Model
from geodiff.steps import drain
from tests.conftest import NOISY
from tests.jobs.rasters import read_raster, texture, write_raster
from tests.tiny import tiny_model

Paint = Callable[..., Result]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NAIP-like raster: 96 x 128 px, EPSG:26911, a transform with noise in its last digits."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    return write_raster(path, texture(96, 128), "EPSG:26911", NOISY)


@pytest.fixture
def paint(folder: Path, tmp_path: Path) -> Paint:
    """Synthesize into ``tmp_path`` with the tiny model and three steps."""

    def run(name: str = "out.tif", **options: Any) -> Result:
        settings = {"model": str(folder), "steps": 3, "device": "cpu", "precision": "fp32"}
        return synthesize(tmp_path / name, **(settings | {"batch": 4} | options))

    return run


@pytest.fixture(scope="module")
def first(folder: Path, scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The mosaic of the scene on its own grid, seed 0."""
    return synthesize(
        tmp_path_factory.mktemp("first") / "out.tif", reference=str(scene), model=str(folder),
        steps=3, device="cpu", precision="fp32", batch=4,
    )  # fmt: skip


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On several threads the processor's library may split odd batches otherwise than even ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pixels(result: Result) -> NDArray[np.uint8]:
    return read_raster(result.path)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_without_a_box_the_grid_is_kept_to_the_bit(first: Result, scene: Path) -> None:
    with rasterio.open(scene) as source, rasterio.open(first.path) as made:
        assert made.transform == source.transform == NOISY
        assert made.crs == source.crs
        assert made.shape == source.shape
        assert made.dtypes == ("uint8",) * 3


def test_mosaic_is_a_picture_with_its_papers(first: Result, scene: Path) -> None:
    assert pixels(first).std() > 1
    with rasterio.open(first.path) as made:
        tags = made.tags()
    assert tags["GEODIFF_SOURCE"] == "raster scene.tif"
    assert tags["GEODIFF_SEED"] == "0"
    item = json.loads(Path(first.item).read_text())
    assert item["properties"]["geodiff:synthetic"] is True
    assert left_in(Path(first.path).parent) == {"out.tif", "out.json"}
    facts = json.loads(json.dumps(first.as_dict()))
    assert (facts["width"], facts["height"], facts["coverage"]) == (128, 96, 1.0)
    assert (facts["window_px"], facts["stride_px"]) == (64, 48)


def test_same_request_gives_the_same_pixels(first: Result, paint: Paint, scene: Path) -> None:
    again = paint(reference=str(scene))
    assert np.array_equal(pixels(again), pixels(first))
    with rasterio.open(first.path) as one, rasterio.open(again.path) as other:
        tags = [
            {
                name: text
                for name, text in dataset.tags().items()
                if name not in ("TIFFTAG_DATETIME", "GEODIFF_COMMAND")
            }
            for dataset in (one, other)
        ]
    assert tags[0] == tags[1]


def test_seed_changes_the_pixels(first: Result, paint: Paint, scene: Path) -> None:
    other = paint(reference=str(scene), seed=1)
    assert (pixels(other) != pixels(first)).mean() > 0.5


@pytest.mark.usefixtures("one_thread")
def test_batch_does_not_change_a_pixel(paint: Paint, scene: Path) -> None:
    made = [
        pixels(paint(f"{batch}.tif", reference=str(scene), batch=batch, precision="bf16"))
        for batch in (1, 3, 4)
    ]
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])


def test_batch_hardly_changes_a_pixel_in_single_precision(
    first: Result, paint: Paint, scene: Path
) -> None:
    other = pixels(paint(reference=str(scene), batch=1)).astype(int)
    assert np.abs(other - pixels(first)).max() <= 1


def test_like_takes_that_grid(paint: Paint, scene: Path, tmp_path: Path) -> None:
    other = write_raster(tmp_path / "like.tif", texture(40, 56), "EPSG:32610")
    made = paint(like=str(other))
    grid = raster_grid(made.path)
    assert grid.geobox == raster_grid(other).geobox
    assert made.plan.source == "prior of tiny, seed 0"
    assert made.plan.coverage is None


def corner(scene: Path, metres: float = 30.0) -> tuple[float, float, float, float]:
    box = raster_grid(scene).geobox.boundingbox
    return box.left + 5.2, box.top - 5.2 - metres, box.left + 5.2 + metres, box.top - 5.2


def test_box_is_snapped_to_the_world_lattice(paint: Paint, scene: Path) -> None:
    box = corner(scene)
    made = paint(reference=str(scene), bbox=box, bbox_crs="EPSG:26911")
    grid = raster_grid(made.path)
    assert grid.geobox == box_grid(box, "EPSG:26911", "EPSG:26911", 0.6).geobox
    assert made.plan.coverage == 1.0


def test_box_in_another_crs_and_resolution(paint: Paint, scene: Path) -> None:
    box = raster_grid(scene).bounds_lonlat()
    assert box is not None
    made = paint(reference=str(scene), bbox=box, crs="EPSG:32611", res=1.0)
    grid = raster_grid(made.path)
    assert str(grid.crs) == "EPSG:32611"
    assert grid.geobox.affine.a == 1.0
    assert made.plan.gsd == pytest.approx(1.0)


def test_box_alone_takes_the_model(paint: Paint) -> None:
    made = paint(bbox=(-117.0001, 34.0, -117.0, 34.0001), prior_seed=5)
    assert raster_grid(made.path).geobox.affine.a == 0.6
    assert made.plan.source == "prior of tiny, seed 5"


def test_prior_seed_changes_the_place_and_seed_the_noise(paint: Paint) -> None:
    box = (-117.0001, 34.0, -117.0, 34.0001)
    base = pixels(paint("a.tif", bbox=box, seed=1))
    assert np.array_equal(pixels(paint("b.tif", bbox=box, seed=1, prior_seed=1)), base)
    assert not np.array_equal(pixels(paint("c.tif", bbox=box, seed=1, prior_seed=2)), base)
    assert not np.array_equal(pixels(paint("d.tif", bbox=box, seed=2, prior_seed=1)), base)


@pytest.fixture(scope="module")
def saved(folder: Path, scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene's embeddings in a file: 6 x 8 cells, all of the scene."""
    out = tmp_path_factory.mktemp("saved") / "cells.tif"
    drain(embed_steps(EmbedRequest(str(scene), str(out), model=str(folder), device="cpu")))
    return out


def test_saved_embeddings_give_the_pixels_of_their_reference(
    first: Result, paint: Paint, saved: Path, scene: Path
) -> None:
    like = paint("like.tif", embeddings=str(saved), like=str(scene))
    assert np.array_equal(pixels(like), pixels(first))
    own = paint("own.tif", embeddings=str(saved))  # the scene is a whole number of cells
    assert np.array_equal(pixels(own), pixels(first))
    assert own.plan.source == "embeddings cells.tif"
    affine = raster_grid(own.path).geobox.affine
    assert tuple(affine)[:6] == pytest.approx(tuple(NOISY)[:6], abs=1e-6)


def test_embeddings_of_another_encoder_are_refused(
    paint: Paint, saved: Path, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match=r"was made by the encoder .*: embed again with this model"):
        paint(embeddings=str(saved), model=str(other))
    assert left_in(tmp_path) == {"other"}


def test_embeddings_elsewhere_are_refused(paint: Paint, saved: Path) -> None:
    with pytest.raises(DataError, match=r"cells\.tif covers nothing of the box"):
        paint(embeddings=str(saved), bbox=(-117.0001, 34.0, -117.0, 34.0001))


def test_embeddings_need_a_resolution_in_another_crs(paint: Paint, saved: Path) -> None:
    box = raster_grid(saved).bounds_lonlat()
    with pytest.raises(UsageError, match=r"differs from the CRS of .*: give --res as well"):
        paint(embeddings=str(saved), bbox=box, crs="EPSG:4326")


@pytest.mark.parametrize("source", ["reference", "embeddings"])
def test_partial_coverage_is_filled_or_stopped(
    paint: Paint, scene: Path, saved: Path, source: str
) -> None:
    left, bottom, right, top = raster_grid(scene).geobox.boundingbox.bbox
    given = {
        source: str(scene if source == "reference" else saved),
        "bbox": (left + 40, bottom + 20, right + 30, top),
        "bbox_crs": "EPSG:26911",
    }
    with pytest.raises(DataError, match=r"covers 5\d\.\d% of the mosaic: give --fill nearest"):
        paint(fill="stop", **given)
    made = paint(fill="nearest", **given)
    assert made.plan.coverage == pytest.approx(0.56, abs=0.03)
    assert pixels(made).min(0).max() > 0  # painted, not left black


def test_reference_beside_the_box_is_refused(paint: Paint, scene: Path) -> None:
    with pytest.raises(DataError, match=r"scene\.tif covers nothing of the box"):
        paint(reference=str(scene), bbox=(-117.0001, 34.0, -117.0, 34.0001))


@pytest.mark.parametrize("failing", ["conditions", "denoise", "decode"])
def test_nothing_is_left_of_a_run_that_fails(
    paint: Paint, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real = getattr(painting, failing)

    def broken(*arguments: Any) -> Any:
        if failing in ("denoise", "decode"):
            return partly(real, *arguments)
        raise RuntimeError("struck by lightning")

    # Fails after its first step.
    def partly(run: Any, *arguments: Any) -> Iterator[Any]:
        yield next(iter(run(*arguments)))
        raise RuntimeError("struck by lightning")

    monkeypatch.setattr(painting, failing, broken)
    with pytest.raises(RuntimeError, match="struck by lightning"):
        paint(reference=str(scene))
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("last", ["embed", "paint", "decode", "write"])
def test_abandoned_run_leaves_nothing(folder: Path, scene: Path, tmp_path: Path, last: str) -> None:
    request = SynthesizeRequest(
        str(tmp_path / "out.tif"), model=str(folder), reference=str(scene), steps=2
    )
    running = job.steps(request)
    stages = []
    for step in running:
        stages.append(step.stage)
        if step.stage == last:
            break
    running.close()
    assert stages[0] == "load"
    assert stages[-1] == last
    assert left_in(tmp_path) == set()


def test_photo_without_a_place_keeps_its_pixel_grid(paint: Paint, tmp_path: Path) -> None:
    photo = write_raster(tmp_path / "photo.png", texture(50, 70), crs=None)
    made = paint(reference=str(photo), preview=str(tmp_path / "look.png"))
    grid = raster_grid(made.path)
    assert grid.crs is None
    assert grid.geobox == raster_grid(photo).geobox
    assert grid.window.shape == (50, 70)
    assert "no CRS: the mosaic is in pixel coordinates" in made.plan.notes[0]
    assert left_in(tmp_path) == {"photo.png", "out.tif", "out.json", "look.png"}


def test_sources_are_never_overwritten(paint: Paint, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "out.tif", texture(32, 32))
    before = scene.read_bytes()
    with pytest.raises(UsageError, match="sources are never overwritten"):
        paint(reference=str(scene), overwrite=True)
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        paint(bbox=(-117.0001, 34.0, -117.0, 34.0001))
    assert scene.read_bytes() == before


def test_plan_is_what_a_run_does_and_writes_nothing(
    first: Result, folder: Path, scene: Path, tmp_path: Path
) -> None:
    request = SynthesizeRequest(
        str(tmp_path / "out.tif"), model=str(folder), reference=str(scene), steps=3, batch=4
    )
    planned = plan(request)
    assert left_in(tmp_path) == set()
    for name in ("grid", "charts", "sampling", "evaluations", "gsd", "source", "coverage"):
        assert getattr(planned, name) == getattr(first.plan, name)
    assert planned.seconds > 0
    json.dumps(planned.as_dict())


def test_large_box_with_a_crs_needs_no_resolution(folder: Path, tmp_path: Path) -> None:
    request = SynthesizeRequest(
        str(tmp_path / "out.tif"), model=str(folder), bbox=(-118.0, 34.0, -117.5, 34.4),
        crs="EPSG:32611",
    )  # fmt: skip
    grid: PixelGrid = plan(request).grid
    assert grid.geobox.affine.a == 0.6
    assert max(grid.geobox.shape) > 70_000


def test_feet_and_degrees_as_output(folder: Path, tmp_path: Path) -> None:
    def request(crs: str) -> SynthesizeRequest:
        box = (-122.0001, 37.5, -122.0, 37.5001)
        return SynthesizeRequest(str(tmp_path / "out.tif"), str(folder), box, crs=crs)

    assert plan(request("EPSG:2227")).grid.geobox.affine.a == pytest.approx(0.6 / 0.3048006)
    with pytest.raises(UsageError, match="counts in degrees: give --res in degrees as well"):
        plan(request("EPSG:4326"))


def test_distance_far_from_training_is_noted(folder: Path, scene: Path, tmp_path: Path) -> None:
    request = SynthesizeRequest(
        str(tmp_path / "out.tif"), str(folder), bbox=corner(scene), bbox_crs="EPSG:26911",
        crs="EPSG:26911", res=3.0,
    )  # fmt: skip
    assert "outside the 0.3 to 1 m that tiny was trained on" in plan(request).notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing says where the mosaic lies"),
        ({"reference": "a", "embeddings": "b"}, "goes by one source"),
        ({"like": "a", "res": 0.0}, "already fixes the grid"),
        ({"reference": "a", "res": 0.0}, "need --bbox"),
        ({"reference": "a", "crs": "EPSG:32610"}, "need --bbox"),
        ({"bbox": (0, 0, 1, 1), "bands": (1, 1, 1)}, "describe a reference"),
        ({"like": "a", "mode": "best"}, "--mode best is unknown; choose paper, quality, balanced"),
        ({"like": "a", "fill": "black"}, "--fill black is unknown"),
        ({"like": "a", "steps": 0}, "--steps 0 must be between"),
        ({"like": "a", "guidance": float("nan")}, "--guidance nan must be between"),
        ({"like": "a", "batch": 0}, "--batch 0 must be at least 1"),
    ],
)
def test_requests_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SynthesizeRequest("out.tif", **options)


def test_request_lists_its_sources_and_names() -> None:
    request = SynthesizeRequest("out.tif", reference="a.tif", like="./b.tif")
    assert request.sources == ("a.tif", "b.tif")
    assert {"out", "bbox", "seed", "command"} <= set(SynthesizeRequest.names())


def test_a_failed_preview_leaves_no_mosaic(
    paint: Paint, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr(job, "preview", full)
    with pytest.raises(OutputError, match="no space left"):
        paint(reference=str(scene), preview=str(tmp_path / "out.png"))
    assert left_in(tmp_path) == set()


def test_a_mosaic_larger_than_the_memory_is_refused_before_it_is_painted(
    paint: Paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "memory_mb", lambda: 1000.0)
    with pytest.raises(DataError, match="MB of memory, this machine has 1000 MB"):
        paint(bbox=(-118.0, 34.0, -117.8, 34.2), layout="single")
    assert left_in(tmp_path) == set()


def test_a_mosaic_larger_than_the_disk_is_refused_before_it_is_painted(
    paint: Paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(DataError, match=r"needs at least 0\.521 GB of disk .* has 0\.1 GB"):
        paint(bbox=(-118.0, 34.0, -117.9, 34.1), layout="world")
    assert left_in(tmp_path) == set()


def test_a_loaded_model_may_be_given(
    folder: Path, scene: Path, first: Result, paint: Paint
) -> None:
    given = Model.load(folder, precision="fp32")
    assert np.array_equal(pixels(paint(reference=str(scene), model=given)), pixels(first))


def test_a_prior_seed_is_refused_beside_a_source(scene: Path, paint: Paint) -> None:
    with pytest.raises(UsageError, match="--prior-seed"):
        paint(reference=str(scene), prior_seed=3)


def test_the_layout_s_seed_stands_in_the_tags(paint: Paint) -> None:
    box = (-117.76, 34.09, -117.7595, 34.0904)
    assert paint(bbox=box, prior_seed=3).provenance.source.endswith("seed 3")


def test_a_loaded_model_is_used_as_it_is_and_the_call_is_kept(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> Model:
        raise AssertionError("read again")

    monkeypatch.setattr(Model, "load", load)
    out = tmp_path / "out.tif"
    box = (-117.76, 34.09, -117.7595, 34.0904)
    result = synthesize(out, model=model, bbox=box, steps=1, seed=3)
    assert result.provenance.model_hash == model.hash
    call = result.provenance.command
    assert call.startswith(f"geodiff.synthesize({str(out)!r}, model=")
    assert "steps=1, seed=3" in call
