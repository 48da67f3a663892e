"""`geodiff augment` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, failed
from tests.jobs.rasters import texture, write_raster


@pytest.fixture
def chips(tmp_path: Path) -> Path:
    folder = tmp_path / "chips"
    for seed in range(2):
        (folder / "field").mkdir(parents=True, exist_ok=True)
        write_raster(folder / "field" / f"{seed}.png", texture(64, 64, seed), None)
    (folder / "labels.csv").write_text("path,label\nfield/0.png,field\nfield/1.png,field\n")
    return folder


def test_augment_writes_images_and_a_table(invoke: Invoke, model: str, chips: Path) -> None:
    line = "augment chips --gsd 0.3 --per-image 2 --mix 0.5 --steps 1 -o out --model"
    result = invoke(line, model)
    assert result.exit_code == 0, result.output
    assert result.stdout == "out: 4 synthetic images of 2 real ones in 1 class\n"
    assert result.stderr == ""
    names = sorted(path.name for path in Path("out/field").iterdir())
    assert names == ["field_0_m001.tif", "field_0_v000.tif", "field_1_m001.tif", "field_1_v000.tif"]
    facts = json.loads(invoke(line, model, "--json").stdout)
    assert facts == {
        "path": "out", "table": "out/labels.csv", "images": 2, "made": 4, "classes": 1,
    }  # fmt: skip
    assert "another seed" in failed(invoke(line, model, "--seed", "1"), 1)
    assert invoke(line, model, "--seed", "1", "--overwrite").exit_code == 0


def test_augment_refuses_in_one_line(invoke: Invoke, model: str, chips: Path) -> None:
    assert "--mix 2" in failed(invoke("augment chips -o out --mix 2 --model", model), 2)
    assert "one image" in failed(
        invoke("augment chips/field/0.png --labels chips/labels.csv --mix 1 -o out --model", model),
        1,
    )
    assert not Path("out").exists()
