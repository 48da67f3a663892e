"""`geodiff imagine`, `geodiff mix`, and grids in every format between the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from geodiff.geo.embeddings import EmbeddingGrid
from tests.cli.conftest import BOX, Invoke, failed
from tests.jobs.rasters import read_raster, texture, write_raster
from tests.tiny import tiny_model


@pytest.fixture
def grids(invoke: Invoke, model: str) -> None:
    """a.parquet and b.zarr: one box, two seeds."""
    for seed, name in enumerate(("a.parquet", "b.zarr")):
        result = invoke(f"imagine --bbox {BOX} --seed {seed} --margin 1 -o {name} --model", model)
        assert result.exit_code == 0, result.output


def test_imagine_tells_what_it_wrote(invoke: Invoke, model: str) -> None:
    result = invoke(f"imagine --bbox {BOX} --margin 0 --out a.parquet --model", model)
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "a.parquet: 6 x 5 cells of 16 px, 30 valid, 8 features, EPSG:32611, 0.6 m per pixel\n"
    )
    assert result.stderr == ""
    words = ["--json", "--progress", "json", "--overwrite", "--model", model]
    result = invoke("imagine -o a.parquet --bbox", *BOX.split(","), *words)
    facts = json.loads(result.stdout)
    assert (facts["path"], facts["cell_px"], facts["crs"]) == ("a.parquet", 16, "EPSG:32611")
    assert (facts["rows"], facts["cols"], facts["valid"]) == (12, 11, 132)
    stages = [json.loads(line)["stage"] for line in result.stderr.splitlines()]
    assert list(dict.fromkeys(stages)) == ["load", "imagine", "write", "done"]
    assert invoke("imagine -q -o b.tif --bbox", *BOX.split(","), "--model", model).output == ""


def test_imagine_refuses(invoke: Invoke, model: str) -> None:
    with_model = ["--model", model]
    assert "give --bbox" in failed(invoke("imagine -o a.parquet", *with_model), 2)
    line = failed(invoke(f"imagine --bbox {BOX} -o a.csv", *with_model), 2)
    assert "does not end in .tif, .tiff, .zarr, .parquet" in line
    line = failed(invoke(f"imagine --bbox {BOX} -o no/a.parquet", *with_model), 1)
    assert "does not exist: make it first" in line
    assert "--margin -2 must be" in failed(
        invoke(f"imagine --bbox {BOX} -o a.tif --margin -2", *with_model), 2
    )
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("grids")
def test_mix_writes_what_lies_between(invoke: Invoke, model: str) -> None:
    result = invoke("mix a.parquet b.zarr --weight 0.3 --out c.tif --json")
    assert json.loads(result.stdout)["path"] == "c.tif"
    first, second = EmbeddingGrid.open("a.parquet"), EmbeddingGrid.open("b.zarr")
    assert EmbeddingGrid.open("c.tif") == first.mix(second, 0.3)
    assert invoke("mix a.parquet b.zarr --weight 0 --out d.parquet").exit_code == 0
    assert EmbeddingGrid.open("d.parquet") == first
    assert "exists: give --overwrite" in failed(invoke("mix a.parquet b.zarr -o c.tif"), 1)
    painted = invoke("synthesize --embeddings c.tif --steps 1 --out m.tif --json --model", model)
    assert json.loads(painted.stdout)["coverage"] == 1


@pytest.mark.usefixtures("grids")
def test_mix_refuses(invoke: Invoke, tmp_path: Path) -> None:
    mix = "mix a.parquet b.zarr"
    for weight in ("1.2", "-0.1", "nan"):
        line = failed(invoke(f"{mix} -o c.tif --weight", weight), 2)
        assert f"--weight {weight} must be between 0 and 1" in line
    assert "is a source" in failed(invoke(f"{mix} -o b.zarr --overwrite"), 2)
    assert "does not exist" in failed(invoke("mix a.parquet no.parquet -o c.tif"), 1)
    other = str(tiny_model(tmp_path / "other", seed=1))
    assert invoke(f"imagine --bbox {BOX} -o o.tif --model", other).exit_code == 0
    assert "differ in encoder" in failed(invoke("mix a.parquet o.tif -o c.tif"), 2)
    assert not Path("c.tif").exists()


def test_grids_without_a_common_valid_cell_are_refused(
    invoke: Invoke, model: str, tmp_path: Path
) -> None:
    for name, cols in (("a", slice(0, 32)), ("b", slice(32, 64))):
        pixels = np.maximum(texture(32, 64), 1)
        pixels[:, :, cols] = 0
        write_raster(tmp_path / f"{name}.tif", pixels, nodata=0)
        assert invoke(f"embed {name}.tif -o {name}.parquet --model", model).exit_code == 0
    line = failed(invoke("mix a.parquet b.parquet -o c.parquet"), 1)
    assert "no cell is valid in both a.parquet and b.parquet" in line


@pytest.mark.parametrize("suffix", ["zarr", "parquet"])
def test_embed_and_synthesize_take_every_format(
    invoke: Invoke, model: str, noisy_rgb: Path, suffix: str
) -> None:
    for name in (f"e.{suffix}", "e.tif"):
        result = invoke("embed", str(noisy_rgb), "--model", model, "-o", name)
        assert result.stdout.startswith(f"{name}: 6 x 8 cells of 16 px, 48 valid, 8 features")
    assert EmbeddingGrid.open(f"e.{suffix}") == EmbeddingGrid.open("e.tif")
    for number, name in enumerate((f"e.{suffix}", "e.tif")):
        arguments = f"--embeddings {name} --steps 1 --out {number}.tif --model"
        assert invoke(f"synthesize {arguments}", model).exit_code == 0
    np.testing.assert_array_equal(read_raster("0.tif"), read_raster("1.tif"))
    item = json.loads(Path("0.json").read_text())
    sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert [Path(href).name for href in sources] == [f"e.{suffix}", "noisy_rgb.tif"]


def test_a_mosaic_of_a_mix_names_both_rasters(invoke: Invoke, model: str, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_raster(tmp_path / f"{name}.tif", texture(64, 64, seed))
        assert invoke(f"embed {name}.tif -o {name}.parquet --model", model).exit_code == 0
    assert invoke("mix a.parquet b.parquet -o c.parquet").exit_code == 0
    assert invoke("synthesize --embeddings c.parquet --steps 1 --out m.tif --model", model)
    item = json.loads(Path("m.json").read_text())
    sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert [Path(href).name for href in sources] == ["c.parquet", "a.tif", "b.tif"]


def test_a_damaged_grid_is_one_line(invoke: Invoke, model: str, noisy_rgb: Path) -> None:
    invoke("embed", str(noisy_rgb), "--model", model, "-o", "e.parquet")
    whole = Path("e.parquet").read_bytes()
    Path("e.parquet").write_bytes(whole[: len(whole) // 2])
    line = failed(invoke("synthesize --embeddings e.parquet --out a.tif --model", model), 1)
    assert "e.parquet cannot be read as Parquet" in line
    assert "does not end in" in failed(invoke("synthesize --embeddings e.npy -o a.tif"), 2)
