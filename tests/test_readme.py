"""The Python example of the README runs as it stands, with the shipped model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.models.bundle import Model
from tests.jobs.rasters import texture, write_raster

ROOT = Path(__file__).parents[1]


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    write_raster(tmp_path / "tile.tif", texture(128, 128))
    monkeypatch.chdir(tmp_path)
    real = Sampling.of

    def short(mode: str, model: Model, steps: int | None, *more: Any) -> Sampling:
        return real(mode, model, steps or 2, *more)  # whether it runs shows in two steps

    monkeypatch.setattr(Sampling, "of", short)
    exec(compile(example, "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert "(2, 2, 64) EPSG:32610" in told
    assert "twin.tif" in told
    assert all((tmp_path / name).stat().st_size for name in ("cells.tif", "twin.tif", "box.tif"))
