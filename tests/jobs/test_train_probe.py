"""A probe learns the embedding behind latents, from patches that are encoded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geodiff.errors import DataError, ModelError
from geodiff.jobs.datasets.dataset import PatchSet, orient
from geodiff.jobs.train_denoiser import train_denoiser
from geodiff.jobs.train_probe import draw, train_probe
from geodiff.jobs.training.config import DenoiserConfig, ProbeConfig
from geodiff.jobs.training.latents import LatentSet, embed_cells, open_set
from geodiff.models.bundle import Model
from geodiff.models.parts import WEIGHTS
from geodiff.models.probe import Probe
from geodiff.steps import Step
from tests.jobs.rasters import make_dataset

STEPS = 40


def config_of(dataset: Path, run: Path, folder: Path, **changes: Any) -> ProbeConfig:
    given: dict[str, Any] = {
        "datasets": (str(dataset),), "run": str(run), "codec": str(folder / "codec"),
        "encoder": str(folder / "encoder"), "orientations": (2,), "widths": (16, 32),
        "steps": STEPS, "batch": 32, "warmup": 3, "learning_rate": 5e-3, "ema": 0.9,
        "log_every": 1, "save_every": 20, "bf16": False, "device": "cpu",
    }  # fmt: skip
    return ProbeConfig(**given | changes)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 patches of 2 x 2 cells."""
    return make_dataset(tmp_path_factory.mktemp("small"), patch=32)


@pytest.fixture(scope="module")
def trained(
    dataset: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ProbeConfig, list[Step]]:
    config = config_of(dataset, tmp_path_factory.mktemp("run"), folder)
    return config, list(train_probe(config))


@pytest.fixture(scope="module")
def encoded(trained: tuple[ProbeConfig, list[Step]], model: Model, dataset: Path) -> LatentSet:
    """The patches as the run encoded them."""
    key = f"{model.encoder.fingerprint}-{model.codec.fingerprint}"
    return open_set(PatchSet.open(dataset), 2, Path(trained[0].run) / "cache", key)


def test_the_similarity_on_held_out_patches_rises(
    trained: tuple[ProbeConfig, list[Step]],
) -> None:
    losses = [s.figures["loss"] for s in trained[1] if s.stage == "train probe"]
    assert len(losses) == STEPS
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:4])
    checked = [s for s in trained[1] if s.stage == "validate"]
    assert [step.done for step in checked] == [20, 40]
    levels = [step.figures["val_similarity"] for step in checked]
    assert levels[0] < levels[-1] <= 1


def test_the_part_knows_the_cells_of_patches_it_has_not_seen(
    trained: tuple[ProbeConfig, list[Step]], model: Model, dataset: Path
) -> None:
    """Against the encoder itself, on the pixels themselves."""
    probe = Probe.load(Path(trained[0].run) / "probe").to(torch.device("cpu"), bf16=False)
    assert (probe.side, probe.dim, probe.channels) == (2, 8, 4)
    patches = PatchSet.open(dataset)
    pixels = torch.from_numpy(np.array(patches.pixels[patches.split("val")])).permute(0, 3, 1, 2)
    vectors = torch.from_numpy(embed_cells(pixels, model.encoder))
    latents = model.codec.encode(pixels).unfold(2, 2, 2).unfold(3, 2, 2)
    cells = latents.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    with torch.no_grad():
        own = float(probe.cosines(cells, vectors.flatten(0, 2)).mean())
        others = float(probe.cosines(cells, vectors.flatten(0, 2).roll(7, 0)).mean())
    checked = [s.figures["val_similarity"] for s in trained[1] if s.stage == "validate"]
    assert own > others
    assert own == pytest.approx(checked[-1], abs=0.1)


def test_cells_are_drawn_with_their_own_vectors(
    trained: tuple[ProbeConfig, list[Step]], encoded: LatentSet, model: Model, dataset: Path
) -> None:
    latents, vectors = draw([encoded], trained[0], (0, 5), "train")
    again = draw([encoded], trained[0], (0, 5), "train")
    other = draw([encoded], trained[0], (0, 6), "train")
    assert latents.shape == (32, 4, 2, 2)
    assert torch.equal(latents, again[0])
    assert torch.equal(vectors, again[1])
    assert not torch.equal(latents, other[0])
    known: dict[bytes, tuple[int, int, int, int]] = {}
    for patch in encoded.train:
        for k in range(2):
            for row in range(2):
                for col in range(2):
                    cell = encoded.latents[
                        patch, k, :, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2
                    ]
                    known[cell.astype(np.float32).tobytes()] = (int(patch), k, row, col)
    patches = PatchSet.open(dataset)
    for cell, vector in zip(latents[:6], vectors[:6], strict=True):
        patch, k, row, col = known[cell.numpy().tobytes()]  # of the training split, unchanged
        turned = orient(np.array(patches.pixels[patch]), (patch * 3 + k * 5) % 8)
        pixels = turned[16 * row : 16 * row + 16, 16 * col : 16 * col + 16]
        whole = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        wanted = model.encoder.embed(whole.contiguous())[0]
        assert float(wanted @ vector) > 0.99  # the cache is in half precision


def test_a_stopped_run_follows_the_same_trajectory(
    trained: tuple[ProbeConfig, list[Step]], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"steps": 9, "save_every": 4, "cache": f"{trained[0].run}/cache"}
    whole, parts = (replace(trained[0], run=str(tmp_path / n), **changes) for n in ("one", "two"))
    list(train_probe(whole))
    for step in train_probe(parts):
        if step.stage == "train probe" and step.done == 6:  # two steps after its checkpoint
            break
    resumed = [s.done for s in train_probe(parts) if s.stage == "train probe"]
    assert resumed == [5, 6, 7, 8, 9]
    weights = [(Path(c.run) / "probe" / WEIGHTS).read_bytes() for c in (whole, parts)]
    assert weights[0] == weights[1]
    assert list(train_probe(parts)) == []


def test_the_cache_of_a_denoiser_will_do(folder: Path, tmp_path: Path) -> None:
    sets = (str(make_dataset(tmp_path, sources=3, patch=32)),)
    own = config_of(Path(sets[0]), tmp_path / "own", folder, steps=2, batch=4)
    denoiser = DenoiserConfig(
        sets, str(tmp_path / "denoiser"), batch=2, codec=own.codec, encoder=own.encoder, window=4,
        large_every=0, widths=(16, 32), layers=1, field_channels=4, orientations=(2,), steps=1,
        sample_every=0, bf16=False, device="cpu",
    )  # fmt: skip
    list(train_denoiser(denoiser))
    cache = tmp_path / "denoiser" / "cache"
    other = replace(own, run=str(tmp_path / "other"), cache=str(cache))
    stages = [[step.stage for step in train_probe(config)] for config in (own, other)]
    assert [any(stage.startswith("encode") for stage in seen) for seen in stages] == [True, False]
    assert not (tmp_path / "other" / "cache").exists()
    weights = [(Path(config.run) / "probe" / WEIGHTS).read_bytes() for config in (own, other)]
    assert weights[0] == weights[1]


def test_without_patches_to_validate_with_nothing_is_said_of_them(
    folder: Path, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path, sources=3, patch=32, val_fraction=0.0)
    config = config_of(dataset, tmp_path / "run", folder, steps=2, batch=4, orientations=(1,))
    checked = [s.figures for s in train_probe(config) if s.stage == "validate"]
    assert checked == [{}]
    none = LatentSet(
        *(np.zeros((0, 1, 4, 2, 2), np.float16),) * 2, np.zeros(0, int), np.zeros(0, int), 0.6
    )
    with pytest.raises(DataError, match="no patches to train with"):
        draw([none], config, (0, 0), "train")


def test_parts_that_are_not_there(trained: tuple[ProbeConfig, list[Step]], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"latents\.json is not usable"):
        next(train_probe(replace(trained[0], codec=str(tmp_path))))
    with pytest.raises(ModelError, match=r"the encoder in .* cannot be loaded"):
        next(train_probe(replace(trained[0], encoder=str(tmp_path))))
