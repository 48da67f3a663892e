"""A county of real chips becomes a catalogue: whatever breaks is named, nothing else is lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
from distributed import LocalCluster
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import box, shape

from geodiff.errors import DataError, GeodiffError, OutputError, UsageError
from geodiff.geo import signing, stac_client
from geodiff.geo.stac import FILE, PROCESSING, PROJECTION
from geodiff.jobs.batch import BatchRequest, BatchResult, batch, plan, steps
from geodiff.jobs.batches import ledger, sharing
from geodiff.jobs.batches.memory import MEMORY
from geodiff.jobs.batches.units import seed_of
from geodiff.jobs.mosaic import cluster as painting
from tests.batch_live import BROKEN, CLIMBER, LATE, SETTINGS, SIDE, County, county
from tests.jobs.rasters import read_raster
from tests.stac_live import Handler, served
from tests.stac_schemas import validate
from tests.transactions_live import Api

FEW = ("bishop_2020_0", "bishop_2020_1", "eureka_2020_0")


@pytest.fixture(scope="module")
def live(imagery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[County]:
    with county(imagery, tmp_path_factory.mktemp("county")) as made:
        yield made


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, and whole files can be compared."""
    monkeypatch.setattr(signing, "DELAY", 0.01)
    monkeypatch.setattr(sharing, "DELAY", 0.01)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.fixture(scope="module")
def whole(
    live: County, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BatchResult]:
    """The catalogue of the county, and what the run said of it."""
    out = tmp_path_factory.mktemp("whole") / "deep" / "twins"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "DELAY", 0.01)
        patch.setattr(sharing, "DELAY", 0.01)
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        return out, batch(str(out), stac=live.api, model=str(folder), vrt=True, **SETTINGS)


def few(live: County, tmp_path: Path, folder: Path, **more: Any) -> BatchRequest:
    """A batch of three items of a file."""
    options = {name: value for name, value in SETTINGS.items() if name != "collection"}
    items = live.file(tmp_path / "items.json", *FEW)
    return BatchRequest(str(tmp_path / "twins"), items=items, model=str(folder), **options | more)


def run(request: BatchRequest) -> BatchResult:
    job = steps(request)
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


def test_every_item_is_a_twin_or_named_with_a_reason(
    live: County, whole: tuple[Path, BatchResult]
) -> None:
    out, result = whole
    assert result.report.counts == {
        "units": 27, "made": 22, "kept": 0, "failed": 5, "waiting": 0,
    }  # fmt: skip
    assert not result.complete
    report = json.loads((out / "report.json").read_text())
    states = {row["source"]: row for row in report["rows"]}
    assert set(states) == set(live.items)
    for name, told in BROKEN.items():
        assert states[name]["state"] == "failed"
        assert told in states[name]["reason"], states[name]
        assert "\n" not in states[name]["reason"]
    assert {name for name, row in states.items() if row["state"] == "made"} == live.good
    assert live.late["GET"] + live.late["HEAD"] > 2  # 500 twice, then fine
    assert states[LATE]["attempts"] == 1  # GDAL asked again by itself


def test_nothing_escapes_the_folder(live: County, whole: tuple[Path, BatchResult]) -> None:
    out, _ = whole
    root = out.parents[1]
    assert {path.name for path in out.iterdir()} == {
        "collection.json", "report.json", "items", "model", MEMORY,
        "twins-EPSG_26910.vrt", "twins-EPSG_26911.vrt",
    }  # fmt: skip
    assert {path for path in root.rglob("*") if path.is_file()} == {
        path for path in out.rglob("*") if path.is_file()
    }
    assert len(list((out / "items").iterdir())) == 2 * len(live.good)
    (climber,) = (out / "items").glob("escape-*.json")
    item = json.loads(climber.read_text())
    assert item["properties"]["geodiff:source_item"] == CLIMBER
    assert item["id"] == climber.stem


def test_the_catalogue_is_valid_and_opens_offline(
    live: County, whole: tuple[Path, BatchResult]
) -> None:
    out, _ = whole
    collection, items = opened(out)
    assert {item.properties["geodiff:source_item"] for item in items} == live.good
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert all(box(west, south, east, north).covers(shape(item.geometry)) for item in items)


def opened(out: Path) -> tuple[pystac.Collection, list[pystac.Item]]:
    """A catalogue, its items and its model, read by pystac and valid with their extensions."""
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    validate(json.loads((out / "collection.json").read_text()))
    (made_by,) = (out / "model").glob("*.json")
    validate(json.loads(made_by.read_text()))
    items = list(collection.get_items())
    for item in items:
        validate(json.loads(Path(item.get_self_href()).read_text()))
        assert item.get_collection() is collection
        assert item.get_parent() is collection
        assert Path(item.assets["data"].get_absolute_href()).is_file()
    return collection, items


def test_an_item_says_where_it_lies_what_made_it_and_of_what(
    live: County, whole: tuple[Path, BatchResult], folder: Path
) -> None:
    """The fields that the projection, processing and file extensions require, and the links."""
    out, _ = whole
    item = json.loads((out / "items" / f"{FEW[0]}.json").read_text())
    assert set(item["stac_extensions"]) == {PROJECTION, PROCESSING, FILE}
    fields, data = item["properties"], item["assets"]["data"]
    with (
        rasterio.open(out / "items" / f"{FEW[0]}.tif") as twin,
        rasterio.open(live.folder / f"{FEW[0]}.tif") as chip,
    ):
        assert twin.shape == chip.shape == (SIDE, SIDE)
        assert twin.crs == chip.crs
        assert np.allclose(twin.transform, chip.transform, rtol=1e-12)
        assert fields["proj:code"] == f"EPSG:{twin.crs.to_epsg()}"
        assert fields["proj:transform"] == list(twin.transform)[:6]
        assert "AI_GENERATED" in twin.tags()
    assert cog_validate(out / "items" / f"{FEW[0]}.tif", strict=True, quiet=True)[0]
    assert fields["proj:shape"] == [SIDE, SIDE]
    assert fields["processing:level"] == "L4"
    assert set(fields["processing:software"]) == {"geodiff"}
    content = (out / "items" / f"{FEW[0]}.tif").read_bytes()
    assert data["file:size"] == len(content)
    assert data["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert f"{live.api}/collections/naip/items/{FEW[0]}" in sources[0]
    model = json.loads((out / "items" / sources[1]).resolve().read_text())
    assert model["properties"]["mlm:name"] == "tiny"
    assert model["properties"]["geodiff:model_hash"] == fields["geodiff:model_hash"]
    assert (out / "model" / model["assets"]["model.toml"]["href"]).is_file()


def test_the_same_command_makes_only_what_is_missing(
    live: County, whole: tuple[Path, BatchResult], folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "twins"
    shutil.copytree(whole[0], out)
    before = {path.name: path.read_bytes() for path in (out / "items").iterdir()}
    (out / "items" / "eureka_2020_3.tif").unlink()
    (out / "items" / "eureka_2020_4.json").unlink()
    spoiled = bytearray(before["eureka_2020_5.tif"])
    spoiled[len(spoiled) // 2] ^= 255  # same size, still a COG
    (out / "items" / "eureka_2020_5.tif").write_bytes(spoiled)
    item = json.loads(before["eureka_2020_6.json"])
    item["assets"]["data"]["file:size"] += 1
    (out / "items" / "eureka_2020_6.json").write_text(json.dumps(item))
    stamps = {path: path.stat().st_mtime_ns for path in (out / "items").glob("*.tif")}
    result = batch(str(out), stac=live.api, model=str(folder), **SETTINGS)
    counts = result.report.counts
    assert (counts["made"], counts["kept"], counts["failed"]) == (4, 18, 5)
    after = {path.name: path.read_bytes() for path in (out / "items").iterdir()}
    assert after == before
    again = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert {path.stem for path in again} == {"eureka_2020_4", "eureka_2020_5", "eureka_2020_6"}


def test_what_has_not_changed_is_not_read_again(
    live: County, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting again over a finished batch reads no image, and misses none that changed."""
    hashed: list[str] = []

    def digest(path: Path, count: Any = ledger.digest) -> str:
        hashed.append(path.stem)
        return str(count(path))

    monkeypatch.setattr(ledger, "digest", digest)
    request = few(live, tmp_path, folder)
    run(request)
    assert run(request).report.counts["kept"] == 3
    assert hashed == []
    path = tmp_path / "twins" / "items" / f"{FEW[1]}.tif"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    assert run(request).report.counts["made"] == 1
    assert hashed == [FEW[1]]
    run(request)
    assert hashed == [FEW[1]]
    item = json.loads(path.with_suffix(".json").read_text())
    item["assets"]["data"]["file:checksum"] = "1220" + "0" * 64
    path.with_suffix(".json").write_text(json.dumps(item))
    assert run(request).report.counts["made"] == 1
    hashed.clear()
    assert run(replace(request, recheck=True)).report.counts["kept"] == 3
    assert sorted(hashed) == sorted(FEW)
    for damaged in ("", "[]", '{"whole": {"a": [1]}}', '{"whole": 5}'):
        hashed.clear()
        (tmp_path / "twins" / MEMORY).write_text(damaged)
        assert run(request).report.counts["kept"] == 3
        assert sorted(hashed) == sorted(FEW)
    hashed.clear()
    shutil.copytree(tmp_path / "twins", tmp_path / "copy" / "twins")  # other files, though alike
    assert run(replace(request, out_dir=str(tmp_path / "copy" / "twins"))).complete
    assert sorted(hashed) == sorted(FEW)


def test_items_that_a_killed_run_did_not_list_are_listed_by_the_next(
    live: County, folder: Path, tmp_path: Path
) -> None:
    """Whether there is something left to make or not, and whether it asks for them or not."""
    request, out = few(live, tmp_path, folder), tmp_path / "twins"
    run(request)
    last = (out / "collection.json").read_text()

    def forget(*names: str) -> None:
        document = json.loads(last)
        document["links"] = [
            link for link in document["links"] if Path(link["href"]).stem not in names
        ]
        (out / "collection.json").write_text(json.dumps(document))
        assert len(opened(out)[1]) == 3 - len(names)

    def listed() -> set[str]:
        return {item.id for item in opened(out)[1]}

    forget(FEW[1])
    assert run(request).report.counts["kept"] == 3
    assert listed() == set(FEW)
    assert json.loads((out / "collection.json").read_text()) == json.loads(last)
    (out / "collection.json").unlink()
    assert run(request).report.counts["kept"] == 3
    assert listed() == set(FEW)
    alone = replace(request, items=live.file(tmp_path / "one.json", FEW[0]), vrt=True)
    forget(FEW[1], FEW[2])
    assert run(alone).report.counts["kept"] == 1
    assert listed() == set(FEW)
    assert all(name in (out / "twins-EPSG_26911.vrt").read_text() for name in FEW[:2])
    forget(FEW[1])
    (out / "items" / f"{FEW[1]}.tif").unlink()  # no item without its COG
    (out / "items" / f"{FEW[2]}.tif").unlink()  # nor one that was listed
    stranger = json.loads((out / "items" / f"{FEW[0]}.json").read_text())
    (out / "items" / "b.json").write_text(json.dumps(stranger | {"id": "b", "collection": "c"}))
    shutil.copy(out / "items" / f"{FEW[0]}.tif", out / "items" / "b.tif")
    run(alone)
    assert listed() == {FEW[0]}


def test_who_has_nothing_to_make_asks_no_cluster(
    live: County, folder: Path, tmp_path: Path
) -> None:
    request = few(live, tmp_path, folder)
    run(request)
    nobody = replace(request, scheduler="tcp://127.0.0.1:9")
    assert run(nobody).report.counts["kept"] == 3


def test_other_losses_are_another_request(live: County, folder: Path, tmp_path: Path) -> None:
    request = few(live, tmp_path, folder)
    run(request)
    with pytest.raises(UsageError, match=r'of another request \(cog null, now \["jpeg"\]\)'):
        run(replace(request, cog_profile="jpeg"))
    assert run(replace(request, cog_profile="jpeg", overwrite=True)).report.counts["made"] == 3


def test_items_that_an_api_does_not_take_are_named(
    live: County, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused ones and those over which it fails; the next run hands over these alone."""
    monkeypatch.setattr(stac_client, "BACKOFF", 0.01)
    api = Api(bad={FEW[0]: 400, FEW[1]: 500})
    with served(tmp_path, api) as server:
        request = few(live, tmp_path, folder, publish=server.url, public_url="https://e.org/twins")
        result = run(request)
        assert not result.complete
        assert (result.as_dict()["published"], result.as_dict()["published_before"]) == (1, 0)
        told = result.as_dict()["unpublished"]
        assert list(told) == [FEW[0], FEW[1]]
        assert "does not take bishop_2020_1 (500)" in told[FEW[1]]
        assert set(api.held) == {"/collections/twins", f"/collections/twins/items/{FEW[2]}"}
        report = json.loads((tmp_path / "twins" / "report.json").read_text())
        assert [row["item"] for row in report["unpublished"]] == [FEW[0], FEW[1]]
        assert report["finished"] is not None

        with pytest.raises(OutputError, match=rf"does not take {FEW[0]} \(400\).*units are kept"):
            run(replace(request, on_error="fail"))
        report = json.loads((tmp_path / "twins" / "report.json").read_text())
        assert report["unpublished"] == []  # of the run that was stopped at once
        assert report["finished"] is None

        api.bad, api.asked[:] = {}, []
        again = run(request)
        assert again.complete
        assert (again.report.published, again.report.held) == ([FEW[0], FEW[1]], [FEW[2]])
        assert api.posted.count("/collections/twins/items") == 2


def test_an_api_that_is_not_there_is_told_before_the_work(
    live: County, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stac_client, "BACKOFF", 0.01)
    request = few(live, tmp_path, folder, publish="http://127.0.0.1:9", public_url="https://e.org")
    with pytest.raises(OutputError, match=r"nothing can be published at http://127\.0\.0\.1:9"):
        run(request)
    assert not (tmp_path / "twins").exists()


def test_a_cell_that_is_too_large_is_named(folder: Path, tmp_path: Path) -> None:
    cells = [box(5e5, 4e6, 5e5 + 30, 4e6 + 30), box(5e5, 4e6, 7e5, 42e5)]
    frame = geopandas.GeoDataFrame(geometry=cells, crs="EPSG:32610")
    frame.to_file(tmp_path / "cells.gpkg")
    options = {name: value for name, value in SETTINGS.items() if name != "collection"}
    request = BatchRequest(
        str(tmp_path / "a"), cells=str(tmp_path / "cells.gpkg"), model=str(folder), **options
    )
    counted = plan(request)
    assert (counted.units, counted.unplaced) == (1, 0)
    assert counted.evaluations > 0
    (refused,) = counted.unusable
    assert refused.name == "cell-2"
    assert re.search(r"^the mosaic has .* give a smaller", refused.reason)


def test_another_request_is_refused_unless_it_may_overwrite(
    live: County, folder: Path, tmp_path: Path
) -> None:
    request = few(live, tmp_path, folder)
    assert run(request).complete
    first = read_raster(tmp_path / "twins" / "items" / f"{FEW[0]}.tif")
    with pytest.raises(UsageError, match=r"of another request \(seed 0, now 1\): give --overwrite"):
        run(replace(request, seed=1))
    result = run(replace(request, seed=1, overwrite=True))
    assert result.report.counts["made"] == 3
    assert (first != read_raster(tmp_path / "twins" / "items" / f"{FEW[0]}.tif")).any()
    with pytest.raises(UsageError, match="holds the collection twins: give --name twins"):
        run(replace(request, seed=1, name="other"))
    (tmp_path / "twins" / "collection.json").write_text("{}")
    with pytest.raises(OutputError, match="not by geodiff batch"):
        run(replace(request, seed=1))


def test_variants_join_a_catalogue_that_is_there(
    live: County, folder: Path, tmp_path: Path
) -> None:
    request = few(live, tmp_path, folder)
    run(request)
    result = run(replace(request, variants=2))
    assert (result.report.counts["made"], result.report.counts["kept"]) == (3, 3)
    one, two = (
        json.loads((tmp_path / "twins" / "items" / f"{FEW[0]}{end}.json").read_text())
        for end in ("", "-v2")
    )
    assert one["properties"]["geodiff:seed"] == 0
    assert two["properties"]["geodiff:seed"] == seed_of(0, 2)
    assert two["properties"]["geodiff:variant"] == 2
    collection = pystac.Collection.from_file(str(tmp_path / "twins" / "collection.json"))
    assert len(list(collection.get_items())) == 6


def test_on_error_fail_stops_and_keeps_what_is_done(
    live: County, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "items.json"
    request = few(live, tmp_path, folder, on_error="fail", retries=0)
    live.file(path, FEW[0], "gone", FEW[2])  # in the order of ids: the one that is gone comes last
    with pytest.raises(GeodiffError, match=r"gone \('gone'\): .* the file is gone \(404\)"):
        run(request)
    report = json.loads((tmp_path / "twins" / "report.json").read_text())
    assert (report["made"], report["failed"], report["finished"]) == (2, 1, None)
    collection = pystac.Collection.from_file(str(tmp_path / "twins" / "collection.json"))
    assert {item.id for item in collection.get_items()} == {FEW[0], FEW[2]}


def test_a_unit_that_fails_is_tried_again_after_the_others(
    live: County, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def missing(handler: Handler) -> bool:
        """404, which GDAL takes for an answer, twice."""
        asked.append(handler.path)
        wanted = [path for path in asked if path.startswith(f"/{FEW[0]}.tif")]
        if not handler.path.startswith(f"/{FEW[0]}.tif") or len(wanted) > 2:
            return False
        handler.send(404, b"not yet")
        return True

    monkeypatch.setattr(live.server, "answer", missing)
    result = run(few(live, tmp_path, folder))
    assert result.complete
    assert 1 < result.report.rows[FEW[0]]["attempts"] <= 3
    assert result.report.rows[FEW[1]]["attempts"] == 1
    assert Path(asked[0].split("?")[0]).stem == Path(asked[-1].split("?")[0]).stem == FEW[0]


def test_cells_go_by_all_images_and_join(live: County, folder: Path, tmp_path: Path) -> None:
    with rasterio.open(live.folder / f"{FEW[0]}.tif") as chip:
        left, bottom, right, top = chip.bounds
        crs = chip.crs
    middle = left + 0.6 * SIDE / 2
    cells = geopandas.GeoDataFrame(
        {"name": ["west", "east"]},
        geometry=[box(left, bottom, middle, top), box(middle, bottom, right, top)],
        crs=crs,
    )
    cells.to_file(tmp_path / "cells.gpkg")
    out = tmp_path / "twins"
    result = batch(
        str(out), stac=live.api, cells=str(tmp_path / "cells.gpkg"), cell_id="name",
        datetime="2020-06-01", model=str(folder), res=0.6, **SETTINGS,
    )  # fmt: skip
    assert result.complete
    both = [read_raster(out / "items" / f"{name}.tif") for name in ("west", "east")]
    assert both[0].shape == both[1].shape == (3, SIDE, SIDE // 2)
    cells.dissolve().to_file(tmp_path / "one.gpkg")
    batch(
        str(tmp_path / "one"), stac=live.api, cells=str(tmp_path / "one.gpkg"),
        datetime="2020-06-01", model=str(folder), res=0.6, **SETTINGS,
    )  # fmt: skip
    together = read_raster(tmp_path / "one" / "items" / "cell-1.tif")
    np.testing.assert_array_equal(np.concatenate(both, axis=2), together)


def test_the_plan_counts_without_opening_a_raster(
    live: County, folder: Path, tmp_path: Path
) -> None:
    asked = len(live.server.asked)
    request = BatchRequest(
        str(tmp_path / "twins"), stac=live.api, model=str(folder), **SETTINGS, variants=2
    )
    counted = plan(request)
    assert len(live.server.asked) == asked
    assert not (tmp_path / "twins").exists()
    assert (counted.units, counted.kept) == (2 * 25, 0)
    assert [one.name for one in counted.unusable] == ["passwd", "lacks"] or len(
        counted.unusable
    ) == 2
    assert counted.megapixels == pytest.approx(2 * 25 * SIDE**2 / 1e6, rel=0.1)
    assert counted.disk_mb == pytest.approx(3 * 51 * SIDE**2 / 1e6, rel=0.1)  # and one's charts
    assert counted.evaluations > counted.charts > 50
    assert counted.seconds > 0


def test_a_source_is_never_overwritten(live: County, folder: Path, tmp_path: Path) -> None:
    items = tmp_path / "twins" / "items"
    items.mkdir(parents=True)
    source = items / f"{FEW[0]}.tif"
    shutil.copy(live.folder / f"{FEW[0]}.tif", source)
    content = source.read_bytes()
    made = live.items[FEW[0]].to_dict(False, False)
    made["assets"]["image"]["href"] = f"./{source.name}"
    (items / "items.json").write_text(json.dumps([made]))
    options = {name: value for name, value in SETTINGS.items() if name != "collection"}
    result = batch(
        str(tmp_path / "twins"), items=str(items / "items.json"), model=str(folder), **options
    )
    (failure,) = result.report.failures
    assert "sources are never overwritten" in failure["reason"]
    assert source.read_bytes() == content


def test_workers_make_the_same_files_though_one_is_killed(
    live: County, folder: Path, tmp_path: Path, whole: tuple[Path, BatchResult]
) -> None:
    out, ids = tmp_path / "twins", (*sorted(live.good - {CLIMBER})[:8], "gone")
    request = replace(few(live, tmp_path, folder), items=live.file(tmp_path / "items.json", *ids))
    with LocalCluster(n_workers=2, threads_per_worker=1, **painting.QUIET) as cluster:
        victims = [worker.pid for worker in cluster.workers.values()][:1]
        for step in steps(replace(request, scheduler=cluster.scheduler_address)):
            if step.stage == "twins" and step.done >= 2 and victims:
                os.kill(victims.pop(), signal.SIGKILL)
    assert not victims
    made = {path.name: path.read_bytes() for path in (out / "items").iterdir()}
    assert set(made) == {f"{name}.{end}" for name in ids[:8] for end in ("tif", "json")}
    alone = replace(request, items=live.file(tmp_path / "items.json", *ids[:2]))
    run(replace(alone, out_dir=str(tmp_path / "alone" / "twins")))
    for name in ids[:2]:
        for end in ("tif", "json"):
            here = (tmp_path / "alone" / "twins" / "items" / f"{name}.{end}").read_bytes()
            assert made[f"{name}.{end}"] == here
    same_pixels(out, whole[0], ids[:8])


def same_pixels(one: Path, other: Path, names: Sequence[str]) -> None:
    """The tags of files differ where their items were found in other ways."""
    for name in names:
        pixels = (read_raster(place / "items" / f"{name}.tif") for place in (one, other))
        np.testing.assert_array_equal(*pixels)


def test_a_folder_that_cannot_be_made_is_one_line(
    live: County, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "twins").write_text("a file")
    with pytest.raises(OutputError, match="is no folder: choose another --out-dir"):
        run(few(live, tmp_path, folder))
    with pytest.raises(DataError, match=r"cannot be read|no such|check --items"):
        run(replace(few(live, tmp_path, folder), items=str(tmp_path / "no.json")))


KILLED = """
import json, os, sys
from geodiff.jobs.batch import BatchRequest, steps
import geodiff.jobs.synthesize, diffusers, timm, odc.stac
settings = json.loads(sys.argv[1])
for line in sys.stdin:  # one attempt a line, each in a process of its own
    child = os.fork()
    if child == 0:
        for step in steps(BatchRequest(**settings)):
            if step.stage == "twins":
                print("twins", flush=True)
        print("finished", flush=True)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to spare the imports of every attempt")
def test_killed_at_any_moment_the_same_request_ends_with_the_same_files(
    live: County, folder: Path, tmp_path: Path, whole: tuple[Path, BatchResult]
) -> None:
    chance, ids = random.Random(2), sorted(live.good - {CLIMBER})[:5]
    settings = {name: value for name, value in SETTINGS.items() if name != "collection"} | {
        "items": live.file(tmp_path / "items.json", *ids),
        "model": str(folder),
    }
    settings["out_dir"] = str(tmp_path / "twins")
    line = [sys.executable, "-c", KILLED, json.dumps(settings)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    items = tmp_path / "twins" / "items"
    with subprocess.Popen(line, **pipes) as parent:
        assert parent.stdin
        assert parent.stdout

        def attempt(steps_: int) -> list[str]:
            """What a run says; it is killed a moment after so many steps."""
            print(file=parent.stdin, flush=True)
            said, child = [], int(parent.stdout.readline())
            while (said or [""])[-1] != "gone":
                said.append(parent.stdout.readline().strip())
                if said.count("twins") == steps_:
                    time.sleep(chance.uniform(0, 0.1))
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
            return said

        for _ in range(6):
            attempt(chance.randrange(1, 30))
            for item in items.glob("*.json"):  # what has an item is whole
                facts = json.loads(item.read_text())["assets"]["data"]
                content = item.with_suffix(".tif").read_bytes()
                assert facts["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
            if (tmp_path / "twins" / "collection.json").exists():
                opened(tmp_path / "twins")  # what it lists is there
        assert "finished" in attempt(-1)
        parent.stdin.close()
    assert {path.name for path in items.iterdir()} == {
        f"{name}.{end}" for name in ids for end in ("tif", "json")
    }
    same_pixels(tmp_path / "twins", whole[0], ids)
    assert {item.id for item in opened(tmp_path / "twins")[1]} == set(ids)
    assert {path.name for path in (tmp_path / "twins").iterdir()} == {
        "collection.json", "items", "model", "report.json", MEMORY,
    }  # fmt: skip
