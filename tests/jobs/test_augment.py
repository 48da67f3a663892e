"""Variations of labelled images: labels, place and provenance go along, nothing is half-written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely import box

from geodiff.errors import DataError, GeodiffError, OutputError, UsageError
from geodiff.geo.source import quiet
from geodiff.jobs.augment import Augmented, AugmentRequest, augment
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.variations.labelled import find_images
from geodiff.jobs.variations.paint import asked_of, canvas_of, paint
from geodiff.jobs.variations.recipes import Recipe, recipes
from geodiff.models.bundle import Model
from geodiff.steps import Step, drain
from tests.jobs.rasters import make_dataset, read_raster, texture, write_raster
from tests.tiny import probed_model

CLASSES = {"a0": "field", "a1": "field", "b0": "town", "b1": "town"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four georeferenced images of 64 x 72 px in two classes, with labels.csv."""
    folder = tmp_path_factory.mktemp("pictures") / "pictures"
    folder.mkdir()
    for seed, name in enumerate(CLASSES):
        write_raster(folder / f"{name}.tif", texture(64, 72, seed))
    lines = ["path,label", *(f"{name}.tif,{label}" for name, label in CLASSES.items())]
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def run(out: Path, sources: Path, model: Path, **options: object) -> Augmented:
    fields = {"per_image": 3, "mix": 0.34, "steps": 1, "device": "cpu", **options}
    request = AugmentRequest((str(sources),), str(out), model=str(model), **fields)  # type: ignore[arg-type]
    return drain(augment(request))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(
    pictures: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Augmented]:
    out = tmp_path_factory.mktemp("made") / "out"
    return out, run(out, pictures, folder)


def test_every_image_has_its_variations_and_the_table_says_how_each_was_made(
    made: tuple[Path, Augmented], pictures: Path
) -> None:
    out, result = made
    assert (result.images, result.made, result.classes) == (4, 12, 2)
    rows = table(out)
    assert {row["path"] for row in rows} == {
        path.relative_to(out).as_posix() for path in out.rglob("*.tif")
    }
    assert len({row["seed"] for row in rows}) == 12
    for row in rows:
        stem = Path(row["source"]).stem
        assert row["label"] == CLASSES[stem] == row["path"].split("/")[0]
        mixed = row["kind"] == "mix"
        assert mixed == bool(row["partner"]) == (float(row["share"]) > 0)
        if mixed:
            assert CLASSES[Path(row["partner"]).stem] == row["label"]
            assert row["partner"] != row["source"]
    assert [row["kind"] for row in rows[:3]] == ["variation", "variation", "mix"]
    assert sorted(p.name for p in out.iterdir()) == ["augment.json", "field", "labels.csv", "town"]


def test_place_is_kept_and_every_file_says_that_it_is_synthetic(
    made: tuple[Path, Augmented], pictures: Path
) -> None:
    out, _ = made
    with rasterio.open(pictures / "a0.tif") as real:
        place = (real.crs, real.transform, real.shape)
    for row in table(out)[:3]:
        with quiet(), rasterio.open(out / row["path"]) as image:
            tags = image.tags()
            assert tags["AI_GENERATED"] == "TRUE"
            assert tags["GEODIFF_SEED"] == row["seed"]
            assert "a0.tif" in json.loads(tags["GEODIFF_DERIVED_FROM"])
            if row["kind"] == "variation":
                assert (image.crs, image.transform, image.shape) == place
            else:  # between two places there is none
                assert image.crs is None
                assert image.shape == place[2]


def test_variations_differ_from_each_other(made: tuple[Path, Augmented]) -> None:
    one, two, _ = (read_raster(made[0] / row["path"]) for row in table(made[0])[:3])
    assert np.abs(one.astype(int) - two).mean() > 1


def test_a_stopped_run_goes_on_to_the_same_bits(
    made: tuple[Path, Augmented], pictures: Path, folder: Path, tmp_path: Path
) -> None:
    request = AugmentRequest(
        (str(pictures),), str(tmp_path / "out"), per_image=3, mix=0.34, steps=1, device="cpu",
        model=str(folder),
    )  # fmt: skip
    job = augment(request)
    step = next(job)
    while step.stage != "augment":
        step = next(job)
    job.close()
    assert not (tmp_path / "out" / "labels.csv").exists()
    (tmp_path / "out" / "field" / "a0_v001.tif").unlink()
    kept = (tmp_path / "out" / "field" / "a0_v000.tif").stat().st_mtime_ns
    drain(augment(request))
    assert (tmp_path / "out" / "field" / "a0_v000.tif").stat().st_mtime_ns == kept
    assert table(tmp_path / "out") == table(made[0])
    for row in table(made[0]):
        again = read_raster(tmp_path / "out" / row["path"])
        np.testing.assert_array_equal(again, read_raster(made[0] / row["path"]))


def test_another_request_needs_overwrite_and_leaves_nothing_of_the_former(
    pictures: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(out, pictures, folder, mix=0)
    with pytest.raises(OutputError, match="another seed, per_image"):
        run(out, pictures, folder, mix=0, seed=1, per_image=1)
    run(out, pictures, folder, mix=0, seed=1, per_image=1, overwrite=True)
    assert len(list(out.rglob("*.tif"))) == 4
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("")
    with pytest.raises(OutputError, match="holds other things"):
        run(tmp_path / "other", pictures, folder, overwrite=True)


def test_large_images_are_painted_as_mosaics_and_plain_ones_need_no_label(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    write_raster(tmp_path / "in" / "large.png", texture(100, 90, 3), None)
    request = AugmentRequest(
        (str(tmp_path / "in"),), str(tmp_path / "out"), 1, steps=1, device="cpu", model=str(folder)
    )
    steps: list[Step] = []
    job = augment(request)
    while True:
        try:
            steps.append(next(job))
        except StopIteration:
            break
    assert any("--gsd METRES" in note for step in steps for note in step.notes)
    assert read_raster(tmp_path / "out" / "large_v000.tif").shape == (3, 100, 90)
    (row,) = table(tmp_path / "out")
    assert (row["label"], row["kind"], row["partner"]) == ("", "variation", "")


def test_a_data_set_gives_its_training_patches_alone(
    folder: Path, tmp_path: Path, model: Model
) -> None:
    path = make_dataset(tmp_path / "set", sources=6, val_fraction=0.5)
    images = find_images([str(path)], None, None)
    val = find_images([str(path)], None, None, "val")
    assert len(images) + len(val) == 24
    assert not {image.name for image in images} & {image.name for image in val}
    assert run(tmp_path / "out", path, folder, per_image=1, mix=0).images == len(images)
    assert images[0].embeddings(model).values.shape == (4, 4, 8)
    patches = PatchSet.open(path)
    (found,) = np.flatnonzero(patches.table["name"] == images[0].name)
    with rasterio.open(next((tmp_path / "out").glob(f"{images[0].name}_v000.tif"))) as image:
        assert image.crs == "EPSG:32610"
        outline = gpd.GeoSeries([box(*image.bounds)], crs=image.crs).to_crs("EPSG:4326")[0]
    gap = outline.symmetric_difference(patches.table.geometry[found]).area / outline.area
    assert gap < 0.05  # of the same 64 x 64 px to half a pixel


def test_an_images_recipes_do_not_depend_on_the_others_of_another_class(pictures: Path) -> None:
    images = find_images([str(pictures)], None, None)
    whole = recipes(images, 4, 0.5, 7)
    alone = recipes(images[:2], 4, 0.5, 7)
    assert whole[0] == alone[0]
    assert all(0.2 <= recipe.share <= 0.5 for own in whole for recipe in own[2:])


def refused(kind: type[GeodiffError], words: str, *given: object, **options: object) -> None:
    out, sources, model = given
    with pytest.raises(kind, match=words) as caught:
        run(out, sources, model, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not Path(str(out)).exists()


def test_bad_input_is_one_line_and_leaves_no_folder(
    pictures: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "wrong.csv").write_text("path,label\nz.tif,field\n")
    (tmp_path / "odd.csv").write_text("file,kind\na0.tif,field\n")
    (tmp_path / "twice.csv").write_text("name,label\na0,field\na0,town\n")
    refused(
        DataError, "no label for 4 of 4", out, pictures, folder, labels=str(tmp_path / "wrong.csv")
    )
    refused(
        DataError, "needs a column 'label'", out, pictures, folder, labels=str(tmp_path / "odd.csv")
    )
    refused(
        DataError,
        "two labels: field, town",
        out,
        pictures,
        folder,
        labels=str(tmp_path / "twice.csv"),
    )
    refused(DataError, "cannot read the labels", out, pictures, folder, labels="no.csv")
    refused(DataError, "the class field has one image", out, pictures / "a0.tif", folder,
            labels=str(pictures / "labels.csv"))  # fmt: skip
    refused(DataError, "none has a label", out, pictures / "a*.tif", folder)
    refused(DataError, "there is no image", out, tmp_path / "nothing", folder)
    refused(UsageError, "choose another --out", pictures / "out", pictures, folder)
    refused(UsageError, "--per-image 0", out, pictures, folder, per_image=0)
    refused(UsageError, "--mix 2", out, pictures, folder, mix=2)
    small = tmp_path / "small"
    small.mkdir()
    write_raster(small / "s.tif", texture(40, 64, 1))
    refused(DataError, "smaller than a window of 64 x 64 px", out, small, folder, mix=0)
    refused(DataError, "smaller than a window", out, small, folder, mix=0, skip_small=True)
    write_raster(small / "t.tif", texture(64, 64, 1))
    assert run(out, small, folder, mix=0, per_image=1, skip_small=True).images == 1


def test_variations_of_whole_cells_are_steered_towards_their_own_embeddings(
    folder: Path, tmp_path: Path
) -> None:
    model = Model.load(probed_model(folder, tmp_path / "probed"), device="cpu")
    for name, height, width in (("whole", 64, 80), ("cut", 64, 72)):
        write_raster(tmp_path / f"{name}.tif", texture(height, width))
        (image,) = find_images((str(tmp_path / f"{name}.tif"),), None, None)
        grid, own = image.grid, image.embeddings(model)
        asked = asked_of([own, own], grid, canvas_of(grid, 8, 1), model)
        if name == "cut":
            assert asked is None
        else:
            assert asked is not None
            assert np.array_equal(asked, np.stack([own.values, own.values]))
    plain = replace(model, probe=None)
    (image,) = find_images((str(tmp_path / "whole.tif"),), None, None)
    recipe = Recipe("a.tif", "", "variation", 0, None, 0.0, 7)
    painted = [
        next(paint(one, Sampling.of("fast", one, 3, None, 2), [image], [recipe]))
        for one in (model, plain)
    ]
    assert not np.array_equal(*painted)
