"""A tiny model, and two ways to run the command line: in this process and in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geodiff_cli.main import cli
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]
BOX = "-117.76,34.09,-117.7595,34.0904"  # 79 x 76 px of 0.6 m

Invoke = Callable[..., Result]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Directory of a tiny model with random weights."""
    return str(tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the command line in this process, in an empty working directory.

    ``invoke("embed a.tif", "--out", "b c.tif")``: the first argument is split at its spaces.
    """
    monkeypatch.chdir(tmp_path)

    def run(line: str = "", *more: str, **settings: str) -> Result:
        return CliRunner().invoke(cli, [*line.split(), *more], prog_name="geodiff", env=settings)

    return run


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start ``python`` in an empty working directory; the first argument is split at spaces."""
    started: list[subprocess.Popen[str]] = []

    def start(line: str, *more: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
        process = subprocess.Popen(
            [sys.executable, *line.split(), *more],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as in a terminal
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def failed(result: Result, code: int) -> str:
    """The one line on stderr of a command that failed as promised: no traceback, nothing else."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line
