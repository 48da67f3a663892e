"""Bad input: one line on stderr, the right exit code, no traceback, and no file left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from tests.cli.conftest import BOX, Invoke, Spawn, failed

BOXES = {
    "reversed": ("-117.75,34.10,-117.76,34.09", "reversed"),
    "upside down": ("-117.76,34.10,-117.75,34.09", "reversed"),
    "empty": ("-117.76,34.09,-117.76,34.10", "empty"),
    "not a number": ("nan,34.09,-117.75,34.098", "not finite"),
    "infinite": ("-117.76,34.09,inf,34.098", "not finite"),
    "latitude": ("34.09,-117.76,34.098,-117.75", "latitude outside -90..90"),
    "longitude": ("190,34.09,190.01,34.1", "longitude outside -180..180"),
    "over the antimeridian": ("179.99,-17,180.01,-16.99", "antimeridian"),
    "antimeridian": ("179.99,-17,-179.99,-16.99", "antimeridian"),
    "metres": ("430000,3772000,430100,3772100", "looks like metres"),
}

OPTIONS = {
    "unknown CRS": (["--bbox", BOX, "--crs", "EPSG:999999"], 2, "unknown CRS 'EPSG:999999'"),
    "unknown box CRS": (["--bbox", BOX, "--bbox-crs", "nowhere"], 2, "unknown CRS 'nowhere'"),
    "degrees": (["--bbox", BOX, "--bbox-crs", "EPSG:32611"], 2, "looks like degrees"),
    "no place": ([], 2, "nothing says where"),
    "negative res": (["--bbox", BOX, "--res", "-1"], 2, "resolution is -1"),
    "no number": (["--bbox", BOX, "--res", "wide"], 2, "'wide' is not a valid float"),
    "mode": (["--bbox", BOX, "--mode", "best"], 2, "'best' is not one of"),
    "steps": (["--bbox", BOX, "--steps", "0"], 2, "--steps 0"),
    "guidance": (["--bbox", BOX, "--guidance", "nan"], 2, "--guidance nan"),
    "profile": (["--bbox", BOX, "--cog-profile", "gif"], 2, "'gif' is not one of"),
    "creation option": (["--bbox", BOX, "--co", "COLOUR=BLUE"], 2, "no creation option"),
    "creation value": (["--bbox", BOX, "--co", "BLOCKSIZE=abc"], 2, "BLOCKSIZE cannot be"),
    "preview suffix": (["--bbox", BOX, "--preview", "a.gif"], 2, "does not end in .png"),
    "bands": (["--bbox", BOX, "--bands", "1,2,3"], 2, "describe a reference"),
    "fill": (["--bbox", BOX, "--fill", "nearest"], 2, "--reference, --stac or --embeddings"),
    "box CRS alone": (["--like", "a.tif", "--bbox-crs", "EPSG:4326"], 2, "describes a box"),
    "gsd of a box": (["--bbox", BOX, "--gsd", "0.6"], 2, "is for a raster without CRS"),
    "negative gsd": (["--like", "a.tif", "--gsd", "-1"], 2, "metres above 0"),
    "negative seed": (["--bbox", BOX, "--seed", "-1"], 2, "--seed -1 must be between 0 and"),
    "huge seed": (["--bbox", BOX, "--seed", str(2**63)], 2, "must be between 0 and 92233720368"),
    "idle option": (["--bbox", BOX, "--co", "QUALITY=80"], 2, "does nothing with ZSTD"),
    "two sources": (
        ["--reference", "a.tif", "--embeddings", "b.tif"], 2, "both given: a mosaic goes by one",
    ),
    "two grids": (["--bbox", BOX, "--like", "a.tif"], 2, "already fixes the grid"),
    "reference missing": (["--reference", "no.tif"], 1, "no.tif does not exist"),
    "like missing": (["--like", "no.tif"], 1, "no.tif does not exist"),
    "embeddings missing": (["--embeddings", "no.tif"], 1, "no.tif does not exist"),
}  # fmt: skip


Refused = Callable[..., str]


@pytest.fixture
def refused(invoke: Invoke, model: str, tmp_path: Path) -> Refused:
    """Run synthesize; return its one error line after checking that nothing was written."""

    def run(*arguments: str, code: int, out: str = "out.tif") -> str:
        before = {path.name for path in tmp_path.iterdir()}
        words = [*arguments] if "--model" in arguments else [*arguments, "--model", model]
        line = failed(invoke("synthesize", *words, "--out", out), code)
        assert {path.name for path in tmp_path.iterdir()} == before
        return line

    return run


def raster(path: Path, count: int = 3, dtype: str = "uint8", **profile: object) -> Path:
    """A small raster of random values in EPSG:32611."""
    values = np.random.default_rng(0).integers(1, 200, (count, 64, 64)).astype(dtype)
    settings = {
        "driver": "GTiff", "dtype": dtype, "count": count, "height": 64, "width": 64,
        "crs": "EPSG:32611", "transform": Affine(0.6, 0, 430000.2, 0, -0.6, 3772400.4),
    } | profile  # fmt: skip
    with rasterio.open(path, "w", **settings) as dataset:
        dataset.write(values)
    return path


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name: str, refused: Refused) -> None:
    box, words = BOXES[name]
    assert words in refused("--bbox", box, code=2)


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str, refused: Refused) -> None:
    arguments, code, words = OPTIONS[name]
    assert words in refused(*arguments, code=code)


def test_output_directory_missing(refused: Refused) -> None:
    line = refused("--bbox", BOX, code=1, out="nowhere/out.tif")
    assert "the directory nowhere does not exist" in line


def test_output_exists(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "out.tif").write_bytes(b"mine")
    assert "out.tif exists: give --overwrite" in refused("--bbox", BOX, code=1)
    assert (tmp_path / "out.tif").read_bytes() == b"mine"


def test_output_is_the_source(refused: Refused, tmp_path: Path) -> None:
    before = raster(tmp_path / "out.tif").read_bytes()
    assert "never overwritten" in refused("--reference", "out.tif", "--overwrite", code=2)
    assert (tmp_path / "out.tif").read_bytes() == before


def test_output_of_another_suffix(refused: Refused) -> None:
    assert "does not end in .tif" in refused("--bbox", BOX, code=2, out="out.png")


def test_model_directory_missing(refused: Refused) -> None:
    line = refused("--bbox", BOX, "--model", "nowhere", code=1)
    assert "the model directory nowhere does not exist" in line


def test_model_directory_empty(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is not complete" in refused("--bbox", BOX, "--model", "empty", code=1)


def test_reference_truncated(refused: Refused, tmp_path: Path) -> None:
    path = raster(tmp_path / "cut.tif")
    path.write_bytes(path.read_bytes()[:6000])
    assert "cut.tif" in refused("--reference", "cut.tif", code=1)


def test_reference_no_raster(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no picture")
    assert "cannot be opened as a raster" in refused("--reference", "text.tif", code=1)


def test_reference_that_is_rotated(refused: Refused, tmp_path: Path) -> None:
    raster(tmp_path / "turned.tif", transform=Affine(0.5, 0.3, 430000.2, 0.3, -0.5, 3772400.4))
    line = refused("--reference", "turned.tif", code=1)
    assert "is rotated" in line
    assert "--bbox or --like" in line


def test_reference_that_tells_its_ground_sample_distance(refused: Refused, tmp_path: Path) -> None:
    raster(tmp_path / "placed.tif")
    line = refused("--reference", "placed.tif", "--gsd", "0.3", code=2)
    assert "EPSG:32611, which makes 0.6 m per pixel: leave it out" in line


def test_reference_of_one_band(refused: Refused, tmp_path: Path) -> None:
    raster(tmp_path / "grey.tif", count=1)
    assert "--bands 1,1,1" in refused("--reference", "grey.tif", code=1)


def test_reference_of_16_bit(refused: Refused, tmp_path: Path) -> None:
    raster(tmp_path / "deep.tif", dtype="uint16")
    assert "--scale LO,HI" in refused("--reference", "deep.tif", code=1)


def test_reference_elsewhere(refused: Refused, tmp_path: Path) -> None:
    raster(tmp_path / "far.tif")
    line = refused("--reference", "far.tif", "--bbox", "-118.76,34.09,-118.7595,34.0904", code=1)
    assert "covers nothing of the box" in line


def test_reference_with_gaps_and_stop(refused: Refused, tmp_path: Path) -> None:
    raster(tmp_path / "part.tif")
    box = "430000,3772350,430060,3772400"
    arguments = ["--reference", "part.tif", "--bbox", box, "--bbox-crs", "EPSG:32611"]
    assert "--fill nearest" in refused(*arguments, "--fill", "stop", code=1)


def test_embeddings_of_a_raster(refused: Refused, tmp_path: Path) -> None:
    raster(tmp_path / "picture.tif")
    assert "picture.tif" in refused("--embeddings", "picture.tif", code=1)


def test_a_process_of_its_own_prints_the_same_line(
    spawn: Spawn, model: str, tmp_path: Path
) -> None:
    """GDAL's and the libraries' own messages must not slip in around the one line."""
    path = raster(tmp_path / "cut.tif")
    path.write_bytes(path.read_bytes()[:6000])
    process = spawn("-m geodiff_cli synthesize --reference cut.tif --out a.tif --model", model)
    stdout, stderr = process.communicate()
    (line,) = stderr.splitlines()
    assert (process.returncode, stdout) == (1, "")
    assert line.startswith("Error: cut.tif")
    assert {path.name for path in tmp_path.iterdir()} == {"cut.tif"}
