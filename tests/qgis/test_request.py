"""The words that the plugin gives are options that geodiff has, and say what was chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geodiff_qgis.plans import Plan, room
from geodiff_qgis.request import DEVICES, LAYOUTS, MODES, POSITIONAL, TAKES, Box, Request

BOX = Box(-117.76, 34.09, -117.7595, 34.0904)
SET: dict[str, Any] = {
    "box": BOX, "crs": "EPSG:32611", "res": 0.6, "like": "/d/l.tif", "reference": "/d/--r.tif",
    "bands": (4, 3, 2), "scale": (0.0, 3000.0), "embeddings": "/d/e.parquet",
    "stac": "planetary-computer", "collection": ("naip", "other"), "datetime": "2020/2022",
    "asset": "image", "stac_requester_pays": True, "text": "--a harbour, with 'boats'",
    "layout_file": "/d/p.gpkg",
    "attribute": "text", "layer": "plan", "soft_border": 30.0, "seed": 7, "mode": "fast",
    "first": "/d/--a.parquet", "second": "/d/b.tif", "weight": 0.3, "layout": "world",
    "device": "cpu", "model": "/d/model", "overwrite": True, "restart": True,
}  # fmt: skip


def full(command: str) -> Request:
    """Every field that a command takes; more than it would accept together."""
    taken = {*TAKES[command], *POSITIONAL.get(command, ())}
    return Request(command, "/d/out.tif", **{k: v for k, v in SET.items() if k in taken})


@pytest.mark.parametrize("command", TAKES)
def test_geodiff_reads_just_what_was_chosen(command: str) -> None:
    main = pytest.importorskip("geodiff_cli.main")
    click = pytest.importorskip("click")
    request = full(command)
    asked = main.cli.get_command(click.Context(main.cli), command)
    words = [*request.words()[1:], "--json", "--progress=json"]
    read = asked.make_context(command, words, resilient_parsing=False).params
    for name in TAKES[command]:
        if name != "box":
            assert read[name] == getattr(request, name), name
    if "box" in TAKES[command]:
        assert read["bbox"] == (-117.76, 34.09, -117.7595, 34.0904)
        assert read["bbox_crs"] == "EPSG:4326"
    for name in POSITIONAL.get(command, ()):
        assert read[{"reference": "source"}.get(name, name)] == getattr(request, name)


def test_choices_are_those_of_geodiff() -> None:
    theirs = pytest.importorskip("geodiff.jobs.request")
    assert set(MODES) == set(theirs.MODES)
    assert set(LAYOUTS) == set(theirs.LAYOUTS)
    assert set(DEVICES) == set(theirs.DEVICES)


def test_what_a_command_has_no_option_for_is_refused() -> None:
    with pytest.raises(ValueError, match="geodiff embed has no option --seed"):
        Request("embed", "/d/e.parquet", reference="/d/r.tif", seed=1)
    with pytest.raises(ValueError, match="geodiff train is not known here"):
        Request("train", "/d/x")


@pytest.mark.parametrize("edges", [(0, 0, 0, 1), (0, 1, 1, 0), (float("nan"), 0, 1, 1)])
def test_a_box_without_area_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="has no area"):
        Box(*edges)


def test_a_box_keeps_its_last_digit() -> None:
    edge = 371623.8000000025
    assert float(Box(0.0, 0.0, edge, 1.0).word.split(",")[2]) == edge


@pytest.mark.parametrize("command", TAKES)
def test_a_request_survives_json(command: str) -> None:
    request = full(command)
    assert Request.from_dict(json.loads(json.dumps(request.as_dict()))) == request


def test_when_a_plan_is_large() -> None:
    facts = {
        "crs": "EPSG:32611", "bounds": [0, 0, 930, 895], "width": 1550, "height": 1491, "gsd": 0.6,
        "evaluations": 1850, "seconds": 60.0, "memory_mb": 930, "disk_mb": 13.9, "charts": 1,
        "notes": [],
    }  # fmt: skip
    plan = Plan.of(facts)
    assert not plan.is_large
    continent = Plan.of({**facts, "seconds": 4e9, "disk_mb": 3e8, "charts": 900000})
    assert continent.is_large
    assert [room(mb) for mb in (0.1, 930, 5200, 3e8)] == ["1 MB", "930 MB", "5.2 GB", "300.0 TB"]
    with pytest.raises(ValueError, match="no usable 'width'"):
        Plan.of({k: v for k, v in facts.items() if k != "width"})


def test_paths_are_made_whole_and_addresses_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.tif", "catalog.json"):
        (tmp_path / name).write_text("")
    asked = Request("synthesize", "out.tif", reference="photo.tif", stac="catalog.json", like="/l")
    whole = Request(
        "synthesize", str(tmp_path / "out.tif"), reference=str(tmp_path / "photo.tif"),
        stac=str(tmp_path / "catalog.json"), like="/l",
    )  # fmt: skip
    assert asked.absolute() == whole
    for address in ("planetary-computer", "https://example.org/api"):
        assert asked.but(stac=address).absolute().stac == address
