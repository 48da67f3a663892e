"""Fixtures that more than one part of the tests uses."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path

# A shell's background jobs ignore Ctrl-C, and so would the processes that tests send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported: tiny networks are slower on many threads than on one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import rasterio
from affine import Affine

# As delivered: the pixel size of many NAIP files is 0.6 m with rounding noise in its last digits.
NOISY = Affine(0.5999999999999955, 0.0, 371623.8000000025, 0.0, -0.5999999999999928, 4136146.2)


BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import a benchmark's module by name; forgotten again after the test."""
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not part of this distribution")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for path in BENCHMARKS.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return importlib.import_module


@pytest.fixture(scope="session")
def imagery() -> Path:
    """Folder of real imagery: $GEODIFF_DATA, else ../shared/data beside the repository."""
    named = os.environ.get("GEODIFF_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no imagery in {folder}: set GEODIFF_DATA to the folder that holds it")
    return folder


@pytest.fixture
def noisy_rgb(tmp_path: Path) -> Path:
    """A GeoTIFF of 3 bands of bytes, 96 rows x 128 columns, EPSG:26911, with a noisy transform."""
    path = tmp_path / "noisy_rgb.tif"
    pixels = np.random.default_rng(0).integers(1, 256, (3, 96, 128), dtype=np.uint8)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint8",
        count=3,
        height=96,
        width=128,
        crs="EPSG:26911",
        transform=NOISY,
    ) as dataset:
        dataset.write(pixels)
    return path
