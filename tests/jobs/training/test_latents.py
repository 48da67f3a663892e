"""Cached latents and cells are those of the turned pixels, and their fields the mosaic's own."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError, OutputError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.jobs.datasets.dataset import PatchSet, orient
from geodiff.jobs.training.latents import LatentSet, crop_fields, embed_cells, encode_set, open_set
from geodiff.models.bundle import Model
from tests.jobs.rasters import UTM

TURNS = 3


@pytest.fixture(scope="module")
def patches(dataset: Path) -> PatchSet:
    """The first 20 patches of the tiny data set."""
    whole = PatchSet.open(dataset)
    return PatchSet(whole.pixels[:20], whole.table.iloc[:20], whole.path)


@pytest.fixture(scope="module")
def cache(patches: PatchSet, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the encoded patches."""
    folder = tmp_path_factory.mktemp("cache")
    list(encode_set(patches, model.codec, model.encoder, TURNS, folder, "key"))
    return folder


@pytest.fixture(scope="module")
def encoded(patches: PatchSet, cache: Path) -> LatentSet:
    """The encoded patches."""
    return open_set(patches, TURNS, cache, "key")


def test_shapes(encoded: LatentSet, patches: PatchSet) -> None:
    assert encoded.latents.shape == (20, TURNS, 4, 8, 8)
    assert encoded.cells.shape == (20, TURNS, 4, 4, 8)
    assert encoded.latents_per_cell == 2
    assert encoded.gsd == patches.gsd
    assert np.array_equal(encoded.train, patches.split("train"))


def test_cells_and_latents_are_those_of_the_turned_pixels(
    encoded: LatentSet, patches: PatchSet, model: Model
) -> None:
    seen = set()
    for row in range(0, 20, 3):
        found = []
        for k in range(TURNS):
            cells = encoded.cells[row, k].astype(np.float32)
            np.testing.assert_allclose(np.linalg.norm(cells, axis=-1), 1, atol=1e-2)
            likeness = []
            for turn in range(8):
                image = np.ascontiguousarray(orient(np.array(patches.pixels[row]), turn))
                pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
                wanted = embed_cells(pixels, model.encoder)[0]
                likeness.append(float((cells * wanted).sum(-1).min()))
                if likeness[-1] == max(likeness):
                    latents = model.codec.encode(pixels)[0].numpy()
            assert max(likeness) > 0.999  # encoded in half precision
            assert float(np.sort(likeness)[-2]) < max(likeness)
            error = np.abs(encoded.latents[row, k].astype(np.float32) - latents).max()
            assert error < 0.05 * latents.std() + 0.02
            found.append(int(np.argmax(likeness)))
        assert len(set(found)) == TURNS
        seen |= set(found)
    assert len(seen) == 8  # all orientations occur over the patches


def test_cache_is_made_once(patches: PatchSet, cache: Path, model: Model) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(before) == 2  # latents and cells
    assert list(encode_set(patches, model.codec, model.encoder, TURNS, cache, "key")) == []
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_cache_of_other_pixels_networks_or_turns_is_another(
    patches: PatchSet, model: Model, tmp_path: Path
) -> None:
    few = PatchSet(patches.pixels[:2], patches.table.iloc[:2], patches.path)
    changed = replace(few, pixels=few.pixels ^ 1)
    for one, turns, key in ((few, 1, "a"), (few, 1, "b"), (few, 2, "a"), (changed, 1, "a")):
        steps = list(encode_set(one, model.codec, model.encoder, turns, tmp_path, key))
        assert steps[-1].done == steps[-1].total == 2
    assert len(list(tmp_path.iterdir())) == 4 * 2


@pytest.mark.parametrize("shape", [(1, 64, 48, 3), (1, 72, 72, 3)])
def test_patches_of_broken_cells_are_refused(
    patches: PatchSet, model: Model, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    odd = replace(patches, pixels=np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="a multiple of the encoder's cell of 16 px"):
        list(encode_set(odd, model.codec, model.encoder, 1, tmp_path, "key"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(4, 4), (1, 1), (1, 3), (5, 2)])
def test_crop_fields_are_the_fields_of_the_grids(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    cells = rng.standard_normal((6, *shape, 8)).astype(np.float32)
    cells /= np.linalg.norm(cells, axis=-1, keepdims=True)
    rows, cols = rng.uniform(-0.5, 5.5, (6, 9)), rng.uniform(-0.5, 5.5, (6, 7))
    rows[:, 0], cols[:, 0] = 0.5, 0.5  # a centre, which is exact
    fields = crop_fields(cells, rows, cols)
    assert fields.shape == (6, 9, 7, 8)
    assert fields.dtype == np.float32
    np.testing.assert_array_equal(fields[:, 0, 0], cells[:, 0, 0])
    box = PixelGrid(GeoBox(shape, UTM, "EPSG:32610"), 0, 0)
    for sample in range(6):
        grid = EmbeddingGrid(cells[sample], np.ones(shape, np.bool_), box, 16, 0.6, "none")
        wanted = grid.field(rows[sample], cols[sample])
        np.testing.assert_allclose(fields[sample], wanted, atol=1e-6)


def test_a_cache_of_an_earlier_version_is_read(
    patches: PatchSet, encoded: LatentSet, cache: Path, model: Model, tmp_path: Path
) -> None:
    (new,) = cache.glob("*.latents.npy")
    name = new.name.removesuffix(".latents.npy") + ".npz"
    np.savez(tmp_path / name, latents=encoded.latents, cells=encoded.cells)
    assert list(encode_set(patches, model.codec, model.encoder, TURNS, tmp_path, "key")) == []
    again = open_set(patches, TURNS, tmp_path, "key")
    assert np.array_equal(again.latents, encoded.latents)
    assert np.array_equal(again.cells, encoded.cells)


def test_a_killed_encoding_is_done_again(
    patches: PatchSet, encoded: LatentSet, model: Model, tmp_path: Path
) -> None:
    next(encode_set(patches, model.codec, model.encoder, TURNS, tmp_path, "key"))
    list(encode_set(patches, model.codec, model.encoder, TURNS, tmp_path, "key"))
    again = open_set(patches, TURNS, tmp_path, "key")
    assert np.array_equal(again.latents, encoded.latents)
    assert all(".tmp" not in path.name for path in tmp_path.iterdir())


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["reserve", "orient"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    where: str, patches: PatchSet, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"geodiff.jobs.training.latents.{where}", full_disk)
    with pytest.raises(OutputError, match="No space left") as told:
        list(encode_set(patches, model.codec, model.encoder, 1, tmp_path, "key"))
    assert "--run" in str(told.value)
    assert "--out" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_encoding_leaves_nothing(
    patches: PatchSet, model: Model, tmp_path: Path
) -> None:
    steps = encode_set(patches, model.codec, model.encoder, 1, tmp_path, "key")
    next(iter(steps))
    assert list(tmp_path.iterdir()) != []
    steps.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
