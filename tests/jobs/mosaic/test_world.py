"""World layout: the pixels depend on the place, not on box, order, batch, workers or kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from distributed import Client, LocalCluster
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from geodiff.errors import DataError, GeodiffError, ModelError, UsageError
from geodiff.geo.grid import PixelGrid, raster_grid
from geodiff.geo.journal import folder_of, read_journal, unfinished
from geodiff.jobs import synthesize as job
from geodiff.jobs.mosaic import cluster as painting
from geodiff.jobs.mosaic import worker
from geodiff.jobs.mosaic.charts import Chart, charts, layout_of
from geodiff.jobs.mosaic.guides import PriorGuide
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.jobs.mosaic.painting import Painter
from geodiff.jobs.mosaic.room import LEAST_SQUEEZED, check_room
from geodiff.jobs.plan import Plan
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import plan, synthesize
from geodiff.models.bundle import Model, digest
from geodiff.window import Window
from tests.jobs.rasters import read_raster, texture, write_raster
from tests.jobs.test_prompt import MISSING, spoken
from tests.stac import catalogue, item
from tests.tiny import labelled_model

BOX = (500_000.4, 4_099_700.0, 500_160.0, 4_099_830.0)  # 267 x 217 px of 0.6 m, 9 charts
SETTINGS: dict[str, Any] = {
    "bbox": BOX, "bbox_crs": "EPSG:32610", "crs": "EPSG:32610", "res": 0.6, "steps": 2, "batch": 16,
    "guidance": 1.0, "layout": "world", "chart": 128, "device": "cpu", "precision": "bf16",
    "command": "geodiff synthesize",
}  # fmt: skip


@pytest.fixture(autouse=True)
def same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole files are compared: they bear the time at which they were begun."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """The file of the box, painted chart by chart in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        out = tmp_path_factory.mktemp("whole") / "out.tif"
        synthesize(out, model=str(folder), **SETTINGS)
        yield out.read_bytes()


def common(one: Path, other: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pixels of two mosaics where both are."""
    grids = [raster_grid(path).geobox.affine for path in (one, other)]
    sizes = [read_raster(path).shape[1:] for path in (one, other)]
    tops = [round(-affine.f / 0.6) for affine in grids]
    lefts = [round(affine.c / 0.6) for affine in grids]
    windows = [Window(t, le, *s) for t, le, s in zip(tops, lefts, sizes, strict=True)]
    part = windows[0].intersect(windows[1])
    assert part is not None
    first, second = (
        read_raster(path)[(slice(None), *part.within(window))]
        for path, window in zip((one, other), windows, strict=True)
    )
    return first, second


def moved(right: float, down: float) -> dict[str, Any]:
    return {"bbox": (BOX[0] + right, BOX[1] - down, BOX[2] + right, BOX[3] - down)}


def test_overlapping_boxes_agree_on_every_pixel(folder: Path, tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(whole)
    synthesize(tmp_path / "b.tif", model=str(folder), **SETTINGS | moved(60.2, 31.0))
    one, other = common(tmp_path / "a.tif", tmp_path / "b.tif")
    assert one.shape[1] > 150
    assert one.shape[2] > 150
    assert np.array_equal(one, other)


@pytest.mark.parametrize("place", ["same lattice", "warped"])
def test_boxes_of_a_reference_agree_also_where_it_ends(
    folder: Path, tmp_path: Path, place: str
) -> None:
    shift = 0.0 if place == "same lattice" else 0.25
    transform = rasterio.Affine(0.6, 0, 500_040.0 + shift, 0, -0.6, 4_099_800.0 - shift)
    pixels = np.maximum(texture(140, 190), 1)
    pixels[:, 30:110, 50:160] = 0  # a hole wider than a cell
    scene = write_raster(tmp_path / "scene.tif", pixels, "EPSG:32610", transform, nodata=0)
    for name, place_of in (("a", {}), ("b", moved(50.0, 30.2))):
        settings = SETTINGS | place_of
        synthesize(tmp_path / f"{name}.tif", model=str(folder), reference=str(scene), **settings)
    one, other = common(tmp_path / "a.tif", tmp_path / "b.tif")
    assert np.array_equal(one, other)
    assert one.std() > 1


def test_order_of_charts_is_no_matter(
    folder: Path, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = job.make_plan

    def shuffled(*arguments: Any) -> Plan:
        made = real(*arguments)
        parts = list(made.charts)
        random.Random(1).shuffle(parts)
        return replace(made, charts=tuple(parts))

    monkeypatch.setattr(job, "make_plan", shuffled)
    synthesize(tmp_path / "out.tif", model=str(folder), **SETTINGS)
    assert (tmp_path / "out.tif").read_bytes() == whole


@pytest.mark.parametrize("batch", [4, 32])
def test_batch_is_no_matter(folder: Path, tmp_path: Path, whole: bytes, batch: int) -> None:
    synthesize(tmp_path / "out.tif", model=str(folder), **SETTINGS | {"batch": batch})
    assert (tmp_path / "out.tif").read_bytes() == whole


def test_a_single_canvas_of_one_chart_is_the_chart(model: Model, folder: Path) -> None:
    sampling = replace(Sampling.of("balanced", model, 2, None, 4), pad=0)
    side = 128
    edge = Window(-4096, 1024, side, side)  # a chart's place on the lattice
    box = (edge.col * 0.6, -edge.bottom * 0.6, edge.right * 0.6, -edge.row * 0.6)
    request = SynthesizeRequest("x.tif", str(folder), box, "EPSG:32610", "EPSG:32610", 0.6)
    grid = plan(replace(request, chart=128, layout="world")).grid
    assert grid.window == edge
    (single,) = charts("single", grid, model, sampling, side)
    (world,) = charts("world", grid, model, sampling, side)
    assert world.core == single.core == single.canvas
    painter = Painter(model, grid, sampling, PriorGuide(model, 0), 0, None)
    painted = [paint(painter, chart) for chart in (single, Chart(world.core, world.core))]
    assert np.array_equal(*painted)


def paint(painter: Painter, chart: Chart) -> NDArray[np.uint8]:
    tiles: list[NDArray[np.uint8]] = []
    for _ in painter.paint(chart, lambda window, pixels: tiles.append(pixels)):
        pass
    (tile,) = tiles
    return tile


def test_charts_lie_on_the_lattice_and_cover_the_box_once(model: Model, folder: Path) -> None:
    request = SynthesizeRequest("x.tif", str(folder), **SETTINGS)
    made = plan(request)
    factor, box = model.codec.factor, made.grid.window
    seen = np.zeros(box.shape, int)
    for chart in made.charts:
        assert chart.core.row % 16 == chart.core.col % 16 == 0
        assert chart.core.shape == (16, 16)
        assert chart.canvas == chart.core.pad(made.sampling.size)
        part = chart.core.zoom_in(factor).intersect(box)
        assert part is not None
        seen[part.within(box)] += 1
    assert (seen == 1).all()


def test_auto_takes_charts_for_large_boxes_and_crowds(folder: Path) -> None:
    settings = SETTINGS | {"layout": "auto", "chart": None}
    small = plan(SynthesizeRequest("x.tif", str(folder), **settings))
    for wanted in ({"workers": 2}, {"chart": 128}):  # what a single canvas would not heed
        charted = plan(SynthesizeRequest("x.tif", str(folder), **settings | wanted))
        assert (small.layout, charted.layout) == ("single", "world")
    many = plan(SynthesizeRequest("x.tif", str(folder), **settings | {"workers": 20, "chart": 128}))
    assert "20 workers are asked for and the mosaic has 9 charts: 9 will do" in many.notes
    large = replace(small.grid.crop(Window(0, 0, 4097, 64)))
    assert layout_of("auto", large, False) == "world"
    assert layout_of("auto", small.grid.crop(Window(0, 0, 4096, 64)), False) == "single"


def test_a_stopped_run_goes_on_and_another_one_is_refused(
    folder: Path, tmp_path: Path, whole: bytes
) -> None:
    out = tmp_path / "out.tif"
    running = job.steps(SynthesizeRequest(str(out), str(folder), **SETTINGS))
    for step in running:
        if step.stage == "paint" and step.done >= 5:
            break
    running.close()
    assert not out.exists()
    stopped = unfinished(out)
    assert stopped is not None
    assert 0 < stopped[0] < stopped[1]
    with pytest.raises(UsageError, match=r"seed 0, now 3.*give --restart to begin anew"):
        synthesize(out, model=str(folder), **SETTINGS, seed=3)
    steps = list(job.steps(SynthesizeRequest(str(out), str(folder), **SETTINGS)))
    painted = [step for step in steps if step.stage == "paint"]
    assert painted[0].done == stopped[0] * 2  # the finished charts are not painted again
    review = [(step.done, step.total) for step in steps if step.stage == "review"]
    assert review == [(n, stopped[0]) for n in range(1, stopped[0] + 1)]  # but read, one by one
    assert out.read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} == {"out.tif", "out.json"}


def test_restart_begins_anew(folder: Path, tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "out.tif"
    running = job.steps(SynthesizeRequest(str(out), str(folder), **SETTINGS | {"seed": 9}))
    for step in running:
        if step.stage == "paint" and step.done >= 5:
            break
    running.close()
    synthesize(out, model=str(folder), **SETTINGS, restart=True)
    assert out.read_bytes() == whole


KILLED = """
import json, os, sys
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.mosaic.room import LEAST_SQUEEZED, check_room
from geodiff.jobs.synthesize import steps
import geodiff.jobs.mosaic.painting, geodiff.geo.cog, rasterio, diffusers, timm
out, model, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
settings["bbox"] = tuple(settings["bbox"])
for line in sys.stdin:  # one attempt a line, each in a process of its own
    child = os.fork()
    if child == 0:
        for step in steps(SynthesizeRequest(out, model, **settings)):
            if step.stage == "write" and step.done == 0:
                print("publishing", flush=True)
        print("finished", flush=True)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to spare the imports of every attempt")
def test_kill_9_at_any_moment_and_the_same_command_ends_with_the_same_bytes(
    folder: Path, tmp_path: Path, whole: bytes
) -> None:
    out, chance = tmp_path / "out.tif", random.Random(4)
    settings = SETTINGS | {"preview": str(tmp_path / "look.png")}
    line = [sys.executable, "-c", KILLED, str(out), str(folder), json.dumps(settings)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, **pipes) as parent:

        def attempt(kill_after: float | None, stage: str = "") -> list[str]:
            """What one run says until it ends; it is killed some time after ``stage``."""
            assert parent.stdin
            assert parent.stdout
            print(file=parent.stdin, flush=True)
            said, child = [], int(parent.stdout.readline())
            if stage:
                said.append(parent.stdout.readline().strip())
            if kill_after is not None:
                time.sleep(kill_after)
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            while (said or [""])[-1] != "gone":
                said.append(parent.stdout.readline().strip())
            return said

        def complete() -> bool:
            """Whether all is in place, said or not: one may be killed before the last word."""
            assert not out.exists() or out.read_bytes() == whole  # never half a file
            return out.exists() and read_journal(out) is None

        kills = 0
        while kills < 10:  # anywhere
            kills += "finished" not in attempt(chance.uniform(0.02, 0.8))
            if complete():
                begin_anew(tmp_path)
        for _ in range(4):  # while the mosaic is put into place
            attempt(chance.uniform(0.0, 0.3), "publishing")
            if complete():
                begin_anew(tmp_path)
        assert "finished" in attempt(None)
        assert parent.stdin
        parent.stdin.close()
    assert out.read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} == {"out.tif", "out.json", "look.png"}


def begin_anew(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A running cluster of processes, for all tests: each of them takes seconds to start."""
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "processes": True}
    with LocalCluster(**options, **painting.QUIET) as made:
        yield made


def sized(cluster: LocalCluster, count: int) -> str:
    """The address of the cluster, with so many workers."""
    cluster.scale(count)
    with Client(cluster.scheduler_address) as client:
        client.wait_for_workers(count)
        while len(client.nthreads()) > count:
            time.sleep(0.05)
    return str(cluster.scheduler_address)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_processes_give_the_same_file_though_one_is_killed(
    cluster: LocalCluster, folder: Path, tmp_path: Path, whole: bytes, count: int
) -> None:
    out = tmp_path / "out.tif"
    settings = SETTINGS | {"scheduler": sized(cluster, count)}
    victims = [worker.pid for worker in cluster.workers.values()][: count == 2]
    doomed, notes = [worker.worker_address for worker in cluster.workers.values()], list[str]()
    for step in job.steps(SynthesizeRequest(str(out), str(folder), **settings)):
        notes += step.notes
        if step.stage == "paint" and step.done >= 2 and victims:
            assert step.done < step.total / 2
            os.kill(victims.pop(), signal.SIGKILL)
    assert not victims
    told = [note for note in notes if "ended" in note]
    assert [doomed[0] in note for note in told] == [True] * (count == 2)
    assert out.read_bytes() == whole


@pytest.mark.skipif(MISSING, reason="needs the extra text")
def test_processes_follow_the_same_words(
    cluster: LocalCluster, folder: Path, tmp_path: Path, whole: bytes
) -> None:
    settings = SETTINGS | {"text": "a lake", "model": str(spoken(folder, tmp_path / "m"))}
    out, threads = tmp_path / "out.tif", torch.get_num_threads()
    torch.set_num_threads(2)  # workers have one each
    try:
        synthesize(out, **settings)
    finally:
        torch.set_num_threads(threads)
    here = out.read_bytes()
    synthesize(out, **settings, scheduler=sized(cluster, 1), overwrite=True)
    assert out.read_bytes() == here
    assert not np.array_equal(read_raster(out), read_bytes(whole))


@pytest.mark.parametrize("kind", ["collection", "polygons"])
def test_processes_follow_the_same_source(
    cluster: LocalCluster, folder: Path, tmp_path: Path, whole: bytes, kind: str
) -> None:
    """What was found in a catalogue and what was drawn go along with the charts."""
    west, south, east, north = BOX
    if kind == "collection":
        images = [item(tmp_path, "one", 1, 2020, 0, 600), item(tmp_path, "two", 2, 2021, 200, 500)]
        source = {"stac": catalogue(tmp_path, images), "collection": ("naip",)}
    else:
        shapes = [box(west, south, west + 70, north), box(west + 80, south, east, south + 60)]
        plan = geopandas.GeoDataFrame({"text": ["town", "lake"]}, geometry=shapes, crs=32610)
        plan.to_file(tmp_path / "plan.gpkg")
        named = labelled_model(folder, tmp_path / "m", ("town", "wood", "lake"))
        source = {"layout_file": str(tmp_path / "plan.gpkg"), "attribute": "text"}
        source |= {"model": str(named)}
    settings: dict[str, Any] = SETTINGS | {"model": str(folder)} | source
    out = tmp_path / "out.tif"
    synthesize(out, **settings)
    here = out.read_bytes()
    synthesize(out, **settings, scheduler=sized(cluster, 2), overwrite=True)
    assert out.read_bytes() == here
    assert not np.array_equal(read_raster(out), read_bytes(whole))


def read_bytes(content: bytes) -> NDArray[np.uint8]:
    with rasterio.MemoryFile(content) as file, file.open() as dataset:
        pixels: NDArray[np.uint8] = dataset.read()
    return pixels


def test_a_worker_loads_a_model_once_for_many_jobs(
    cluster: LocalCluster, folder: Path, tmp_path: Path
) -> None:
    def watched() -> None:
        from geodiff.models.bundle import Model

        real, Model.loads = Model.load, 0  # type: ignore[attr-defined]

        def load(*arguments: Any) -> Model:
            Model.loads += 1  # type: ignore[attr-defined]
            return real(*arguments)

        Model.load = load  # type: ignore[method-assign, assignment]

    def loads() -> int:
        from geodiff.models.bundle import Model

        return int(Model.loads)  # type: ignore[attr-defined]

    east, north = BOX[0] + 10, BOX[1] + 10
    settings = SETTINGS | {"bbox": (east, north, east + 6, north + 6), "precision": "fp32"}
    settings |= {"scheduler": sized(cluster, 1)}
    with Client(cluster.scheduler_address) as client:
        client.run(watched)
        for seed in (0, 1):
            synthesize(tmp_path / f"{seed}.tif", model=str(folder), **settings, seed=seed)
        assert list(client.run(loads).values()) == [1]


def test_a_process_keeps_the_models_it_used_last(folder: Path) -> None:
    def opened(precision: str, model_hash: str) -> Model:
        return worker.model_here(str(folder), "cpu", precision, model_hash)

    known = digest(folder)
    first, second = opened("fp32", known), opened("bf16", known)
    assert opened("fp32", known) is first
    opened("auto", known)  # one too many: the one used longest ago is dropped
    assert opened("fp32", known) is first
    assert opened("bf16", known) is not second
    with pytest.raises(ModelError, match=r"another model is here.*install the same one"):
        opened("fp32", "0123456789abcdef")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no part of the cores here")
def test_workers_share_the_cores_that_the_process_may_use(folder: Path) -> None:
    def threads(workers: int) -> int | None:
        request = SynthesizeRequest("x.tif", str(folder), **SETTINGS | {"workers": workers})
        grid = PixelGrid(GeoBox((8, 8), Affine.identity(), None), 0, 0)
        return worker.Task(request, grid, "").threads

    before = os.sched_getaffinity(0)
    assert threads(1) == len(before)
    assert threads(len(before) + 1) == 1
    assert threads(0) is None  # a foreign cluster has its own
    try:
        os.sched_setaffinity(0, {min(before)})
        assert threads(1) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_scheduler_that_is_not_there_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "ANSWER", 1)
    settings = SETTINGS | {"scheduler": "tcp://127.0.0.1:9"}
    with pytest.raises(GeodiffError, match="no Dask scheduler answers at tcp://127"):
        synthesize(tmp_path / "out.tif", model=str(folder), **settings)
    assert list(tmp_path.iterdir()) == []


def test_charts_reach_as_far_as_the_noise(folder: Path) -> None:
    far = (13_000_000.0, 4_000_000.0, 13_000_000.1, 4_000_000.1)
    settings = SETTINGS | {"bbox": far, "bbox_crs": "EPSG:3857", "crs": "EPSG:3857", "res": 0.0005}
    with pytest.raises(UsageError, match=r"from the origin of its CRS.*give a larger --res"):
        plan(SynthesizeRequest("x.tif", str(folder), **settings))


def test_a_continent_is_refused_at_once(folder: Path) -> None:
    settings = SETTINGS | {"bbox": (300_000, 4_000_000, 1_300_000, 5_000_000)}
    with pytest.raises(UsageError, match=r"1666668 px in \d+ charts, more than 200000: give a sm"):
        plan(SynthesizeRequest("x.tif", str(folder), **settings))


def test_what_is_painted_already_needs_no_room(folder: Path, tmp_path: Path) -> None:
    request = SynthesizeRequest(str(tmp_path / "out.tif"), str(folder), **SETTINGS)
    planned = plan(request)
    free = shutil.disk_usage(tmp_path).free / 1e6
    full = replace(planned, disk_mb=(free + 5) / LEAST_SQUEEZED)
    with pytest.raises(DataError, match="GB of disk"):
        check_room(full, request.out)
    parts = folder_of(tmp_path / "out.tif")
    parts.mkdir()
    with (parts / "0,0.tif").open("wb") as file:
        file.truncate(50_000_000)  # sparse: it takes no room itself
    check_room(full, request.out)
