"""The other commands: embed, info, prepare, train and assemble."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geodiff
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.source import quiet
from geodiff.models.bundle import Model
from geodiff.models.encoder import CellNetwork, Encoder
from geodiff.models.shipped import SHIPPED
from tests.cli.conftest import Invoke, failed


def test_embed_writes_a_grid_that_synthesize_takes(
    invoke: Invoke, model: str, noisy_rgb: Path
) -> None:
    result = invoke("embed", str(noisy_rgb), "--model", model, "-o", "e.tif")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "e.tif: 6 x 8 cells of 16 px, 48 valid, 8 features, EPSG:26911, 0.6 m per pixel\n"
    )
    assert EmbeddingGrid.open("e.tif").values.shape == (6, 8, 8)
    result = invoke("synthesize --embeddings e.tif --steps 1 --out a.tif --json --model", model)
    assert json.loads(result.stdout)["crs"] == "EPSG:26911"


def test_embed_as_json(invoke: Invoke, model: str, noisy_rgb: Path) -> None:
    arguments = ["--model", model, "-o", "e.tif", "--json", "--progress", "json"]
    result = invoke("embed", str(noisy_rgb), *arguments)
    facts = json.loads(result.stdout)
    assert (facts["rows"], facts["cols"], facts["features"], facts["valid"]) == (6, 8, 8, 48)
    assert json.loads(result.stderr.splitlines()[-1])["stage"] == "done"
    assert "exists" in failed(invoke("embed", str(noisy_rgb), *arguments[:4]), 1)


def test_embed_refuses(invoke: Invoke, model: str, noisy_rgb: Path) -> None:
    before = noisy_rgb.read_bytes()
    line = failed(
        invoke("embed", str(noisy_rgb), "-o", str(noisy_rgb), "--overwrite", "--model", model), 2
    )
    assert "never overwritten" in line
    assert noisy_rgb.read_bytes() == before
    assert "does not exist" in failed(invoke("embed", "no.tif", "-o", "e.tif", "--model", model), 1)


def test_info_shows_a_model(invoke: Invoke, model: str) -> None:
    text = invoke("info", "--model", model)
    assert text.exit_code == 0
    assert "GDAL" in text.stdout
    assert "\nname                 tiny\n" in text.stdout
    facts = json.loads(invoke("info", "--model", model, "--json").stdout)
    assert facts["model"]["name"] == "tiny"
    assert facts["model"]["denoiser_parameters"] > 0
    assert facts["versions"]["GDAL"] == rasterio.__gdal_version__
    assert facts["versions"]["geodiff"] == geodiff.__version__
    assert facts["devices"][0] == "cpu"


def test_quiet_info_still_prints_what_is_asked_for(invoke: Invoke, model: str) -> None:
    assert invoke("info", "--model", model, "-q").stdout == invoke("info", "--model", model).stdout


def test_embed_of_a_picture_takes_its_ground_sample_distance(invoke: Invoke, model: str) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (3, 32, 48), dtype=np.uint8)
    with (
        quiet(),
        rasterio.open(
            "p.png", "w", driver="PNG", dtype="uint8", count=3, height=32, width=48
        ) as out,
    ):
        out.write(pixels)
    assumed = invoke("embed p.png -o e.tif --json --model", model)
    assert json.loads(assumed.stdout)["gsd"] == 0.6
    (note,) = assumed.stderr.splitlines()
    assert note.startswith("Note: no CRS: 0.6 m per pixel is assumed; give --gsd METRES")
    given = invoke("embed p.png -o f.tif --json --gsd 0.25 --model", model)
    assert (json.loads(given.stdout)["gsd"], given.stderr) == (0.25, "")
    assert EmbeddingGrid.open("f.tif").gsd == 0.25


def test_embed_refuses_options_that_would_do_nothing(
    invoke: Invoke, model: str, noisy_rgb: Path
) -> None:
    arguments = ["embed", str(noisy_rgb), "-o", "e.tif", "--model", model]
    assert "describes a box" in failed(invoke(*arguments, "--bbox-crs", "EPSG:4326"), 2)
    assert "for a raster without CRS" in failed(invoke(*arguments, "--gsd", "0.6"), 2)
    assert not Path("e.tif").exists()


def test_info_works_whether_or_not_a_model_is_shipped(invoke: Invoke) -> None:
    result = invoke("info --json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    shipped = Path(geodiff.__file__).parent / "weights" / SHIPPED / "model.toml"
    assert (facts["model"] is None) == (not shipped.exists())
    if facts["model"] is None:
        assert "ships no model" in facts["model_missing"]
        assert "ships no model" in invoke("info").stdout
    else:
        assert facts["model_missing"] is None
        assert facts["model"]["path"] == str(shipped.parent)


def test_info_refuses_a_directory_that_is_no_model(invoke: Invoke) -> None:
    assert "nowhere does not exist" in failed(invoke("info", "--model", "nowhere"), 1)


@pytest.fixture
def dataset(invoke: Invoke, tmp_path: Path) -> Path:
    """A prepared training set of twelve patches of 32 px."""
    pixels = np.random.default_rng(0).integers(1, 256, (3, 96, 128), dtype=np.uint8)
    (tmp_path / "rasters").mkdir()
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 96, "width": 128}
    transform = rasterio.Affine(0.6, 0, 430000.2, 0, -0.6, 3772400.4)
    path = tmp_path / "rasters" / "a.tif"
    with rasterio.open(path, "w", crs="EPSG:32611", transform=transform, **profile) as out:
        out.write(pixels)
    result = invoke("prepare rasters --patch 32 --val-fraction 0 --out set")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "set: 12 patches for training, 0 for validation, 32 px, 0.6 m per pixel\n"
        "1 places; left out: nothing\n"
        "a sample is in set/contact.png\n"
        "nothing to validate with: give more places, a higher --val-fraction, smaller places with "
        "--block, or a --split-table\n"
    )
    return tmp_path / "set"


def test_prepare_as_json(invoke: Invoke, dataset: Path) -> None:
    result = invoke("prepare rasters --patch 64 --val-fraction 0 --out set2 --json")
    facts = json.loads(result.stdout)
    assert (facts["path"], facts["train"], facts["val"]) == ("set2", 2, 0)
    assert (facts["places"], facts["skipped"], facts["labels"]) == (1, {}, {})
    assert Path(facts["contact"]).is_file()
    assert facts["gsd"] == pytest.approx(0.6)


def test_prepare_refuses(invoke: Invoke) -> None:
    assert "no raster found in nothing" in failed(invoke("prepare", "nothing", "-o", "set"), 1)
    assert "patch 8 must be" in failed(invoke("prepare", "x", "-o", "set", "--patch", "8"), 2)
    assert "give either rasters to cut or a STAC" in failed(invoke("prepare", "-o", "set"), 2)
    box = ["--bbox", "1", "2", "3", "4"]
    assert "--bbox needs --stac" in failed(invoke("prepare", "x", "-o", "set", *box), 2)
    assert not Path("set").exists()


def test_train_runs_a_configuration_with_overrides(invoke: Invoke, dataset: Path) -> None:
    Path("prior.toml").write_text(
        'datasets = ["set"]\nrun = "elsewhere"\nencoder = "e/encoder"\nkind = "atlas"\n'
    )
    Path("encoder.toml").write_text(
        'datasets = ["set"]\nrun = "e"\nsteps = 9\nbatch = 4\nnetwork = "test_resnet"\n'
        "dim = 8\ncell = 16\nshift = 2\nbf16 = false\nlog_every = 1\n"
    )
    result = invoke("train", "encoder", "encoder.toml", "--steps", "2", "--progress", "json")
    assert result.exit_code == 0, result.output
    assert result.stdout == "e: encoder trained\n"
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    trained = [line for line in lines if line["stage"] == "train encoder"]
    assert {line["total"] for line in trained} == {2}
    assert trained[-1]["loss"] > 0
    result = invoke("train", "prior", "prior.toml", "--run", "p", "--blocks", "8", "--json")
    assert json.loads(result.stdout) == {"part": "prior", "run": "p"}
    assert Path("p/prior/prior.json").exists()
    assert not Path("elsewhere").exists()


def test_a_probe_is_trained_and_joined_to_a_model(
    invoke: Invoke, dataset: Path, model: str
) -> None:
    Path("probe.toml").write_text(
        f'datasets = ["set"]\nrun = "p"\ncodec = "{model}/codec"\nencoder = "{model}/encoder"\n'
        "steps = 9\nbatch = 4\nwidths = [8, 8]\norientations = [1]\nbf16 = false\n"
    )
    result = invoke("train", "probe", "probe.toml", "--steps", "2", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout == "p: probe trained\n"
    names = ("encoder", "codec", "denoiser", "prior")
    parts = [word for name in names for word in (f"--{name}", f"{model}/{name}")]
    arguments = ["assemble", "--name", "steered", "--window", "8", *parts, "--out", "joined"]
    result = invoke(*arguments, "--probe", "p/probe", "--steer", "0.2")
    assert result.exit_code == 0, result.output
    joined = Model.load("joined", "cpu")
    assert joined.probe is not None
    assert joined.steer == 0.2
    facts = json.loads(invoke("info", "--model", "joined", "--json").stdout)["model"]
    assert facts["megabytes"]["probe"] > 0
    line = failed(invoke(*arguments, "--probe", "none", "--overwrite"), 1)
    assert "the probe none is not a directory" in line


def test_train_probe_refuses(invoke: Invoke) -> None:
    Path("probe.toml").write_text('datasets = ["set"]\nrun = "p"\n')
    line = failed(invoke("train", "probe", "probe.toml"), 2)
    assert "a probe needs a trained codec and encoder" in line


def test_only_the_first_rank_speaks(
    invoke: Invoke, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("prior.toml").write_text(
        'datasets = ["set"]\nrun = "p"\nencoder = "e/encoder"\nkind = "atlas"\n'
    )
    encoder = Encoder(CellNetwork("test_resnet", 8, 16), "test_resnet", 8, 16)
    encoder.save(Path("e/encoder"))
    said = {}
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        result = invoke("train prior prior.toml --blocks 8 --device cpu --progress json --json")
        assert result.exit_code == 0, result.output
        said[rank] = result.output
    assert '"part": "prior"' in said["0"]
    assert said["1"] == ""


def test_train_refuses(invoke: Invoke) -> None:
    assert "cannot read the configuration" in failed(invoke("train", "codec", "no.toml"), 2)
    Path("a.toml").write_text('datasets = ["no"]\nrun = "r"\nstep = 3\n')
    assert "unknown key step; known keys are" in failed(invoke("train", "codec", "a.toml"), 2)
    Path("a.toml").write_text('datasets = ["no"]\nrun = "r"\ndevice = "tpu"\n')
    assert "device 'tpu' is unknown" in failed(invoke("train", "codec", "a.toml"), 2)
    Path("a.toml").write_text('datasets = ["no"]\nrun = "r"\n')
    assert "geodiff prepare" in failed(invoke("train", "codec", "a.toml"), 1)


def test_assemble_joins_parts_into_a_model(invoke: Invoke, model: str) -> None:
    names = ("encoder", "codec", "denoiser", "prior")
    parts = [word for name in names for word in (f"--{name}", f"{model}/{name}")]
    arguments = ["assemble", "--name", "again", "--window", "8", *parts, "--out", "joined"]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("joined: model again, hash ")
    assert (
        json.loads(invoke("info", "--model", "joined", "--json").stdout)["model"]["name"] == "again"
    )
    assert "--overwrite" in failed(invoke(*arguments), 1)
    shutil.rmtree("joined")
    facts = json.loads(invoke(*arguments, "--json").stdout)
    assert (facts["name"], facts["window_px"]) == ("again", 64)


def test_assemble_refuses_parts_that_are_missing(invoke: Invoke) -> None:
    result = invoke("assemble --encoder a --codec b --denoiser c --prior d --name x --out joined")
    assert "the encoder a is not a directory" in failed(result, 1)
    assert not Path("joined").exists()
