"""The plugin on the path, and a geodiff that answers in a moment."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAKE = [sys.executable, str(HERE / "fake_geodiff.py")]

if str(ROOT / "qgis_plugin") not in sys.path:
    sys.path.insert(0, str(ROOT / "qgis_plugin"))


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of a program that speaks as geodiff; the plugin finds it by GEODIFF_EXECUTABLE."""
    folder = tmp_path / "fake bin"
    folder.mkdir()
    program = folder / "geodiff"
    program.write_text(f'#!/bin/sh\nexec "{FAKE[0]}" "{FAKE[1]}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("GEODIFF_EXECUTABLE", str(program))
    return str(program)


@pytest.fixture
def real_program() -> str:
    """The geodiff of $GEODIFF_EXECUTABLE."""
    named = os.environ.get("GEODIFF_EXECUTABLE", "")
    if not os.path.isfile(named):
        pytest.skip("set GEODIFF_EXECUTABLE to an installed geodiff")
    return named


@pytest.fixture
def chip() -> str:
    """A real NAIP chip, 256 x 256 px of 0.6 m."""
    named = os.environ.get("GEODIFF_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    path = folder / "naip_ca_060cm" / "images" / "bishop_2020_0.tif"
    if not path.is_file():
        pytest.skip(f"no imagery in {folder}: set GEODIFF_DATA to the folder that holds it")
    return str(path)
