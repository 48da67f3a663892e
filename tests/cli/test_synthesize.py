"""`geodiff synthesize`: what it prints and leaves behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import rasterio

from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import steps
from geodiff.steps import Step
from geodiff_cli.progress import Progress, Silence
from geodiff_cli.synthesize import duration, room, synthesize
from tests.cli.conftest import BOX, Invoke, Spawn, failed


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def made(model: str) -> list[str]:
    """Arguments of a mosaic of 79 x 76 px, painted in a moment."""
    return ["synthesize", "--bbox", BOX, "--model", model, "--steps", "2", "--out", "a.tif"]


def test_it_writes_a_mosaic_and_says_so_in_one_line(
    invoke: Invoke, made: list[str], tmp_path: Path
) -> None:
    result = invoke(*made, "--seed", "7", "--preview", "a.png")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("a.tif: 79 x 76 px, EPSG:32611, seed 7, model tiny, ")
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""
    assert files(tmp_path) == {"a.tif", "a.json", "a.png"}
    with rasterio.open("a.tif") as dataset:
        assert dataset.shape == (76, 79)
        assert dataset.crs.to_epsg() == 32611
        commands = [value for value in dataset.tags().values() if "geodiff synthesize" in value]
    assert any("--seed 7 --preview a.png" in command for command in commands)


def test_json_is_one_object_and_progress_stays_on_stderr(invoke: Invoke, made: list[str]) -> None:
    result = invoke(*made, "--json", "--progress", "json")
    facts = json.loads(result.stdout)
    assert facts["path"] == "a.tif"
    assert (facts["width"], facts["height"], facts["crs"]) == (79, 76, "EPSG:32611")
    assert facts["seed"] == 0
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    stages = list(dict.fromkeys(line["stage"] for line in lines))
    assert stages[-1] == "done"
    assert {"paint", "decode", "write"} <= set(stages)
    assert lines[-1]["path"] == "a.tif"


def test_quiet_prints_nothing(invoke: Invoke, made: list[str], tmp_path: Path) -> None:
    result = invoke(*made, "-q", "--progress", "bar")
    assert (result.exit_code, result.output) == (0, "")
    assert "a.tif" in files(tmp_path)


def test_a_dry_run_prints_an_aligned_plan_and_writes_nothing(
    invoke: Invoke, made: list[str], tmp_path: Path
) -> None:
    result = invoke(*made, "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert files(tmp_path) == set()
    lines = result.stdout.splitlines()
    table = {line[:15].strip(): line[15:] for line in lines}
    assert table["size"] == "79 x 76 px (0.01 megapixels)"
    assert table["CRS"] == "EPSG:32611"
    assert table["goes by"].startswith("prior of tiny, seed ")
    assert all(line[13:15] == "  " and line[15] != " " for line in lines)


def test_a_dry_run_as_json(invoke: Invoke, made: list[str], tmp_path: Path) -> None:
    plan = json.loads(invoke(*made, "--dry-run", "--json").stdout)
    assert (plan["width"], plan["height"], plan["steps"]) == (79, 76, 2)
    assert files(tmp_path) == set()


def test_every_spelling_of_the_box_is_the_same_mosaic(invoke: Invoke, made: list[str]) -> None:
    rest = [word for word in made if word not in ("--bbox", BOX)]
    first = invoke(*made, "--dry-run").stdout.splitlines()[:8]
    for words in ([f"--bbox={BOX}"], ["--bbox", *BOX.split(",")], ["--bbox", f"[{BOX}]"]):
        assert invoke(*rest, *words, "--dry-run").stdout.splitlines()[:8] == first


def test_notes_go_to_stderr(invoke: Invoke, made: list[str]) -> None:
    result = invoke(*made, "--res", "5")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Note: 5 m per pixel is outside")
    assert len(result.stdout.splitlines()) == 1


def test_quiet_leaves_out_the_notes_but_not_what_is_asked_for(
    invoke: Invoke, made: list[str]
) -> None:
    result = invoke(*made, "--res", "5", "-q", "--json")
    assert result.stderr == ""
    assert json.loads(result.stdout)["path"] == "a.tif"


def test_a_quiet_dry_run_still_prints_the_plan(invoke: Invoke, made: list[str]) -> None:
    def plan(*more: str) -> list[str]:
        result = invoke(*made, "--dry-run", *more)
        assert (result.exit_code, result.stderr) == (0, "")
        return [line for line in result.stdout.splitlines() if not line.startswith("time ")]

    assert plan("-q") == plan()


def test_the_recorded_command_has_what_variables_set(invoke: Invoke, made: list[str]) -> None:
    assert invoke(*made, GEODIFF_SYNTHESIZE_SEED="11").exit_code == 0
    with rasterio.open("a.tif") as dataset:
        tags = dataset.tags()
    assert tags["GEODIFF_SEED"] == "11"
    assert tags["GEODIFF_COMMAND"].endswith("--out a.tif --seed 11")


def test_the_largest_seed_is_kept_exactly(invoke: Invoke, made: list[str]) -> None:
    seed = 2**63 - 1
    facts = json.loads(invoke(*made, "--seed", str(seed), "--json").stdout)
    with rasterio.open("a.tif") as dataset:
        tag = dataset.tags()["GEODIFF_SEED"]
    item = json.loads(Path("a.json").read_text("utf-8"))
    assert facts["seed"] == int(tag) == item["properties"]["geodiff:seed"] == seed


THRICE = """
import os, sys
import geodiff.jobs.synthesize  # once for all three
from geodiff_cli.main import main
for more in ([], ["-v"], ["-vv"]):
    print("next", file=sys.stderr, flush=True)
    child = os.fork()
    if child == 0:
        sys.argv += ["--overwrite", *more]
        main()
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to spare the imports of every run")
def test_logs_are_shown_only_if_asked_for(spawn: Spawn, made: list[str]) -> None:
    line = [word for words in made for word in words.split()]
    stdout, stderr = spawn("-c", THRICE, *line).communicate()
    assert len(stdout.splitlines()) == 3, stderr
    runs = [run.splitlines() for run in stderr.split("next\n")[1:]]
    told = [[line for line in run if " geodiff" in line] for run in runs]
    assert told[0] == []
    words = ("model: ", "grid: 79 x 76", "COG: ", "a.tif is in place", "paint took", "decode took")
    assert all(any(word in line for line in told[1]) for word in words), told[1]
    assert all(line.startswith("INFO ") for line in told[1])
    assert any(line.startswith("DEBUG ") for line in told[2])


def test_an_output_is_replaced_only_if_asked(invoke: Invoke, made: list[str]) -> None:
    assert invoke(*made).exit_code == 0
    before = Path("a.tif").read_bytes()
    assert "--overwrite" in failed(invoke(*made, "--seed", "8"), 1)
    assert Path("a.tif").read_bytes() == before
    assert invoke(*made, "--seed", "8", "--overwrite").exit_code == 0
    assert Path("a.tif").read_bytes() != before


class InterruptedAt(Silence):
    """A display during which the user presses Ctrl-C, at one stage."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def show(self, step: Step) -> None:
        if step.stage == self.stage:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["load", "paint", "decode", "write"])
def test_an_interrupt_leaves_nothing(stage: str, model: str, tmp_path: Path) -> None:
    values = tuple(float(word) for word in BOX.split(","))
    request = SynthesizeRequest(str(tmp_path / "a.tif"), model, bbox=values, steps=1)  # type: ignore[arg-type]
    shown = Progress(synthesize.make_context("synthesize", ["--out", "a.tif"]), "none")
    shown.display = InterruptedAt(stage)
    with pytest.raises(KeyboardInterrupt):
        shown.follow(steps(request))
    finished = {"a.tif", "a.json"} if "a.tif" in files(tmp_path) else set()
    assert files(tmp_path) == finished
    assert stage == "write" or not finished


def test_sigterm_stops_a_process_as_ctrl_c_does(spawn: Spawn, model: str, tmp_path: Path) -> None:
    process = spawn(
        "-m geodiff_cli synthesize --steps 1000 --progress json --out a.tif",
        *("--bbox", BOX, "--model", model),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["stage"] == "paint":
            process.send_signal(signal.SIGTERM)
            break
    stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == "Error: interrupted: unfinished files are removed"
    assert files(tmp_path) == set()


def test_room_on_disk_in_words() -> None:
    assert [room(mb) for mb in (0.02, 1.0, 9999.0, 12345.0, 2.4e7)] == [
        "less than 1 MB", "up to 1 MB", "up to 9999 MB", "up to 12 GB", "up to 24 TB",
    ]  # fmt: skip


def test_durations_in_words() -> None:
    assert [duration(s) for s in (1.23, 119.0, 600.0, 9000.0)] == [
        "1.2 s",
        "119.0 s",
        "10 min",
        "2.5 h",
    ]
