"""Stop a world mosaic, and the same command line finishes it; --restart begins anew."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from tests.cli.conftest import BOX, Invoke, Spawn, failed

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
    painted = [step["done"] for step in steps if step["stage"] == "paint"]
    assert painted[0] == 4 * int(match[1])
    assert painted[-1] == 16
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.json"}


def test_what_cannot_be_shared_or_divided_is_refused(invoke: Invoke, model: str) -> None:
    def line(*more: str) -> str:
        return failed(invoke(f"synthesize --bbox {BOX} --out a.tif --model", model, *more), 2)

    assert "--layout single is one canvas" in line("--layout", "single", "--workers", "2")
    assert "give one of them" in line("--workers", "2", "--scheduler", "tcp://a:1")
    assert "--chart 100 must be a multiple of 128 pixels" in line("--chart", "100")
    assert "--workers -1 must be 0 or more" in line("--workers", "-1")
