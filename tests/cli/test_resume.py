"""Stop a world mosaic, and the same command line finishes it; --restart begins anew."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import BOX, Invoke, Spawn, failed
from tests.jobs.rasters import read_raster

WORLD = f"synthesize --bbox {BOX} --layout world --chart 128 --steps 4 --out a.tif --model"


def test_ctrl_c_says_how_to_go_on_and_the_same_line_does(
    spawn: Spawn, invoke: Invoke, model: str, tmp_path: Path
) -> None:
    process = spawn(f"-m geodiff_cli {WORLD}", model, "--progress", "json")
    assert process.stderr is not None
    for line in process.stderr:
        step = json.loads(line)
        if step["stage"] == "paint" and step["done"] >= 5:  # the second of four charts
            process.send_signal(signal.SIGINT)
            break
    _, stderr = process.communicate()
    assert process.returncode == 130
    told = stderr.splitlines()[-1]
    match = re.match(r"Error: interrupted: ([123]) of 4 charts are finished and kept beside", told)
    assert match, told  # the signal may arrive a chart later
    assert "the same command goes on from there, --restart begins anew" in told
    assert not (tmp_path / "a.tif").exists()

    other = failed(invoke(WORLD, model, "--seed", "5"), 2)
    assert '(seed 0, now 5; source "prior of tiny, seed 0", now "prior of tiny, seed 5")' in other
    assert "give --restart to begin anew" in other

    result = invoke(WORLD, model, "--progress", "json")
    assert result.exit_code == 0, result.output
    steps = [json.loads(line) for line in result.stderr.splitlines()]
    (review,) = [(s["done"], s["total"]) for s in steps if s["stage"] == "review"][-1:]
    assert review == (int(match[1]), int(match[1]))  # read back, before anything is painted
    painted = [step["done"] for step in steps if step["stage"] == "paint"]
    assert painted[0] == 4 * int(match[1])
    assert painted[-1] == 16
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.json"}


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="a terminal interrupts a process group")
def test_ctrl_c_stops_all_workers_and_a_run_without_goes_on(
    spawn: Spawn, invoke: Invoke, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # whole files are compared
    line = f"{WORLD.replace('--steps 4', '--steps 12')} {model} --workers 2"
    process = spawn(f"-m geodiff_cli {line}", "--progress", "json")
    assert process.stderr is not None
    for step in map(json.loads, process.stderr):
        if step["stage"] == "paint" and step["done"]:
            break
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len([worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())]) >= 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate()
    told = [line for line in stderr.splitlines() if not line.startswith("{")]
    assert process.returncode == 130
    assert len(told) == 1
    assert re.match(
        r"Error: interrupted: [123] of 4 charts are finished and kept beside a\.tif; the same "
        "command goes on from there",
        told[0],
    )
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    line = line.replace(" --workers 2", "")  # who paints is no matter
    result = invoke(line)
    assert result.exit_code == 0, result.output
    undisturbed = line.replace("--out a.tif", "--out b.tif")
    assert invoke(undisturbed).exit_code == 0
    assert read_raster("a.tif").tobytes() == read_raster("b.tif").tobytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.json", "b.tif", "b.json"}


SIX_CHARTS = (
    "synthesize --bbox 500000.4,4099700,500250,4099950 --bbox-crs EPSG:32610 --crs EPSG:32610 "
    "--layout world --chart 256 --mode fast --steps 1 --guidance 1 --batch 32 --out a.tif --model"
)
SLOW_COPY = ("--co", "LEVEL=22", "--co", "BLOCKSIZE=128", "--co", "NUM_THREADS=1")


def test_a_signal_stops_the_copy_into_the_cog(
    spawn: Spawn, invoke: Invoke, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # whole files are compared
    for number in (signal.SIGINT, signal.SIGTERM):
        process = spawn(f"-m geodiff_cli -v {SIX_CHARTS}", model, "--progress", "json", *SLOW_COPY)
        assert process.stderr is not None
        for line in process.stderr:
            step = json.loads(line) if line.startswith("{") else {}
            if step.get("stage") == "write" and step["done"]:
                process.send_signal(number)
                break
        _, stderr = process.communicate()
        assert process.returncode == 130
        assert re.search(r"COG: the copy is given up at [1-9]?[0-9] %\n", stderr), stderr
        assert '"verify"' not in stderr
        told = stderr.splitlines()[-1]
        assert told.startswith("Error: interrupted: 6 of 6 charts are finished and kept beside")
        assert "the same command goes on from there" in told
        assert [path.name for path in tmp_path.iterdir()] == [".a.tif.geodiff"]
        assert len(list(tmp_path.glob(".a.tif.geodiff/*,*.tif"))) == 6
        assert not list(tmp_path.glob(".a.tif.geodiff/*cog*"))

    result = invoke(SIX_CHARTS, model, "--progress", "json")
    assert result.exit_code == 0, result.output
    stages = {json.loads(line)["stage"] for line in result.stderr.splitlines()}
    assert {"review", "write", "verify"} <= stages
    assert "decode" not in stages
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.json"}
    resumed = Path("a.tif").read_bytes()
    for name in ("a.tif", "a.json"):
        (tmp_path / name).unlink()
    assert invoke(SIX_CHARTS, model, "--progress", "json").exit_code == 0
    assert Path("a.tif").read_bytes() == resumed


def test_what_cannot_be_shared_or_divided_is_refused(invoke: Invoke, model: str) -> None:
    def line(*more: str) -> str:
        return failed(invoke(f"synthesize --bbox {BOX} --out a.tif --model", model, *more), 2)

    assert "--layout single is one canvas" in line("--layout", "single", "--workers", "2")
    told = line("--layout", "single", "--chart", "2048")  # also where it is the default
    assert "so --chart 2048 would do nothing: leave it out, or use --layout world" in told
    assert "give one of them" in line("--workers", "2", "--scheduler", "tcp://a:1")
    assert "--chart 100 must be a multiple of 128 pixels" in line("--chart", "100")
    assert "--workers -1 must be 0 or more" in line("--workers", "-1")
