"""`geodiff evaluate` from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, failed
from tests.jobs.rasters import make_dataset, texture, write_raster
from tests.jobs.training.test_checkpoint import room_for

FAST = "--limit 4 --steps 1 --megapixels 0.0164 --features encoder --device cpu --model"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_dataset(tmp_path_factory.mktemp("held")))


def test_evaluate_prints_tables_and_writes_a_report(
    invoke: Invoke, model: str, held: str, tmp_path: Path
) -> None:
    scene = write_raster(tmp_path / "scene.tif", texture(128, 128, 3))
    result = invoke(f"evaluate {held} --reference {scene} --report page.html {FAST}", model)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("tiny ")
    assert sum(line.startswith("scene.tif ") for line in lines) == 4
    assert sum(line.startswith("source ") for line in lines) == 4
    assert lines[-1] == "page.html"
    assert Path("page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_evaluate_as_json_has_the_main_figures_at_the_top(
    invoke: Invoke, model: str, held: str
) -> None:
    result = invoke(f"evaluate {held} --json --progress json {FAST}", model)
    facts = json.loads(result.stdout)
    assert facts["frechet"] == facts["rows"][0]["patch"][0]["frechet"]
    assert facts["report"] is None
    stages = [json.loads(line)["stage"] for line in result.stderr.splitlines()]
    assert stages[0] == "load"
    assert {"embed training patches", "repaint set", "measure set"} <= set(stages)
    assert stages[-1] == "done"


def test_evaluate_against_another_model_says_which_is_better(
    invoke: Invoke, model: str, held: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    text = (other / "model.toml").read_text().replace('"tiny"', '"copy"')
    (other / "model.toml").write_text(text)
    result = invoke(f"evaluate {held} --against {other} {FAST}", model)
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    assert "tiny" in last
    assert "copy" in last
    assert "no better" in last  # the same weights


def test_figures_are_printed_where_the_disk_is_too_full_for_the_report(
    invoke: Invoke, model: str, held: str
) -> None:
    with room_for(1000):
        result = invoke(f"evaluate {held} --report page.html {FAST}", model, "--megapixels", "0")
    assert result.exit_code == 1, result.output
    assert sum(line.startswith("source ") for line in result.stdout.splitlines()) == 3
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: cannot write the report page.html")
    assert not Path("page.html").exists()


def test_evaluate_refuses_in_one_line(
    invoke: Invoke, model: str, held: str, tmp_path: Path
) -> None:
    def told(line: str, code: int) -> str:
        return failed(invoke(f"evaluate {line} --model", model), code)

    assert "nothing to measure" in told("", 2)
    assert "not a prepared dataset" in told(str(tmp_path), 1)
    assert "does not exist" in told("--reference no.tif", 1)
    assert "choose encoder" in told(f"{held} --features vgg", 2)
    assert "NAME=VALUE" in told(f"{held} --weights file.pt", 2)
    assert "inception=FILE" in told(f"{held} --features inception", 1)
    assert ".html" in told(f"{held} --report page.png", 2)
