"""Each network learns something in thirty steps and leaves a part that loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geodiff.errors import DataError, ModelError, UsageError
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.train_codec import load_codec, train_codec
from geodiff.jobs.train_denoiser import train_denoiser
from geodiff.jobs.train_encoder import network_of, train_encoder, view
from geodiff.jobs.train_prior import train_prior
from geodiff.jobs.training.batches import crop_size
from geodiff.jobs.training.config import CodecConfig, DenoiserConfig, EncoderConfig, PriorConfig
from geodiff.models.denoiser import Denoiser, FieldUNet
from geodiff.models.encoder import Encoder
from geodiff.models.parts import WEIGHTS
from geodiff.models.prior import AtlasPrior
from geodiff.steps import Step
from tests.jobs.rasters import make_dataset, read_raster

STEPS = 30
COMMON: dict[str, Any] = {
    "steps": STEPS, "warmup": 3, "learning_rate": 5e-3, "ema": 0.9, "log_every": 1,
    "save_every": 15, "bf16": False,
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """Where the parts lie and what their training yielded."""

    folder: Path
    steps: dict[str, list[Step]]
    denoiser: DenoiserConfig

    def losses(self, part: str) -> list[float]:
        """Loss of every step."""
        return [s.figures["loss"] for s in self.steps[part] if s.stage == f"train {part}"]


def atlas_of(sets: tuple[str, ...], run: Path, encoder: str, blocks: int) -> PriorConfig:
    """A prior of the kind that needs no training."""
    return PriorConfig(sets, str(run), encoder=encoder, kind="atlas", blocks=blocks)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All four parts, trained on the textures, in the order they need each other."""
    folder = tmp_path_factory.mktemp("runs")
    sets, run = (str(dataset),), {p: str(folder / p) for p in ("codec", "encoder", "denoiser")}
    codec = CodecConfig(
        sets, run["codec"], batch=6, crop=32, widths=(8, 8, 16, 16), encoder_layers=(0, 1, 1, 1),
        decoder_layers=(0, 1, 1, 1), gradient=0.1, **COMMON,
    )  # fmt: skip
    encoder = EncoderConfig(
        sets, run["encoder"], batch=24, network="test_resnet", dim=8, cell=16, shift=3, **COMMON
    )
    denoiser = DenoiserConfig(
        sets, run["denoiser"], batch=16, codec=f"{run['codec']}/codec",
        encoder=f"{run['encoder']}/encoder", window=4, large_window=8, large_every=5,
        widths=(16, 32), layers=1, field_channels=4, orientations=(2,), **COMMON,
    )  # fmt: skip
    steps = {
        "codec": list(train_codec(codec)),
        "encoder": list(train_encoder(encoder)),
        "denoiser": list(train_denoiser(denoiser)),
        "atlas": list(train_prior(atlas_of(sets, folder, denoiser.encoder, blocks=20))),
    }
    return Trained(folder, steps, denoiser)


@pytest.mark.parametrize(("part", "share"), [("codec", 0.7), ("encoder", 0.8), ("denoiser", 0.9)])
def test_loss_falls(trained: Trained, part: str, share: float) -> None:
    losses = trained.losses(part)
    assert len(losses) == STEPS
    assert np.mean(losses[-8:]) < share * np.mean(losses[:4])


def test_codec_part_standardises_its_latents(trained: Trained, dataset: Path) -> None:
    codec = load_codec(trained.folder / "codec" / "codec")
    patches = PatchSet.open(dataset)
    images = torch.from_numpy(np.array(patches.pixels[patches.split("train")]))
    latents = codec.encode(images.permute(0, 3, 1, 2))
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=0.02, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)


def test_encoder_part_tells_textures_apart(trained: Trained, dataset: Path) -> None:
    encoder = Encoder.load(trained.folder / "encoder" / "encoder")
    patches = PatchSet.open(dataset)
    cells = torch.from_numpy(np.array(patches.pixels[:, :16, :16])).permute(0, 3, 1, 2)
    moved = torch.from_numpy(np.array(patches.pixels[:, 2:18, 1:17])).permute(0, 3, 1, 2)
    one, other = encoder.embed(cells.contiguous()), encoder.embed(moved.contiguous())
    same, different = float((one * other).sum(1).mean()), float((one @ other.T).mean())
    assert same > different + 0.2


def test_denoiser_part_loads_and_was_validated(trained: Trained) -> None:
    denoiser = Denoiser.load(trained.folder / "denoiser" / "denoiser", bf16=False)
    assert denoiser.net.config["dim"] == 8
    checked = [s for s in trained.steps["denoiser"] if s.stage == "validate"]
    assert [step.done for step in checked] == [15, 30]
    assert checked[-1].figures["val_loss"] < checked[0].figures["val_loss"] * 1.2
    assert all(np.isfinite(step.figures["val_loss"]) for step in checked)


def test_prior_part_holds_cells_of_the_training_split(trained: Trained, dataset: Path) -> None:
    prior = AtlasPrior.load(trained.folder / "prior")
    assert prior.blocks.shape == (20, 4, 4, 8)
    encoder = Encoder.load(Path(trained.denoiser.encoder))
    patches = PatchSet.open(dataset)
    corner = np.array(patches.pixels[patches.split("train"), :16, :16])
    vectors = encoder.embed(torch.from_numpy(corner).permute(0, 3, 1, 2).contiguous()).numpy()
    assert float((prior.blocks[:, 0, 0] @ vectors.T).max(1).min()) > 0.999


def test_finished_run_starts_again_without_training(trained: Trained) -> None:
    folder = trained.folder / "denoiser" / "denoiser"
    weights = folder / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    weights.unlink()  # as if killed after the checkpoint, before the part was written
    assert list(train_denoiser(trained.denoiser)) == []
    assert weights.read_bytes() == before


def test_denoiser_goes_on_from_a_part(trained: Trained, tmp_path: Path) -> None:
    start = str(trained.folder / "denoiser" / "denoiser")
    config = replace(trained.denoiser, run=str(tmp_path), steps=2, start_from=start)
    losses = [s.figures["loss"] for s in train_denoiser(config) if s.stage == "train denoiser"]
    assert losses[0] < np.mean(trained.losses("denoiser")[:2])
    part = tmp_path / "other"
    Denoiser(FieldUNet(4, 9, (16, 32), 1, 4)).save(part)
    with pytest.raises(ModelError, match="4 channels and embeddings of 9"):
        list(train_denoiser(replace(config, run=str(tmp_path / "new"), start_from=str(part))))


def test_denoiser_learns_guidance_from_a_teacher(trained: Trained, tmp_path: Path) -> None:
    part = str(trained.folder / "denoiser" / "denoiser")
    config = replace(
        trained.denoiser, run=str(tmp_path / "run"), start_from=part, teacher=part,
        guidance=(1.0, 4.0), steps=4, save_every=4,
    )  # fmt: skip
    told = [s.figures for s in train_denoiser(config) if s.stage == "validate"]
    assert 0 < told[-1]["val_unlearned"] < 1.5
    learned = Denoiser.load(tmp_path / "run" / "denoiser", bf16=False)
    assert learned.taught == (1.0, 4.0)
    again = replace(config, run=str(tmp_path / "again"), start_from=str(tmp_path / "run/denoiser"))
    assert list(train_denoiser(again))  # goes on from a part that knows the same scales
    other = replace(again, run=str(tmp_path / "other"), guidance=(1.0, 6.0))
    with pytest.raises(ModelError, match="knows guidance 1 to 4, not 1 to 6"):
        list(train_denoiser(other))


def test_codec_decoder_alone_keeps_the_latents(trained: Trained, dataset: Path) -> None:
    folder = trained.folder / "codec"
    config = CodecConfig(
        (str(dataset),), str(folder / "second"), batch=4, crop=32, freeze_encoder=True,
        start_from=str(folder / "codec"), **(COMMON | {"steps": 2}),
    )  # fmt: skip
    list(train_codec(config))
    one, other = load_codec(folder / "codec"), load_codec(folder / "second" / "codec")
    pixels = torch.from_numpy(np.array(PatchSet.open(dataset).pixels[:2])).permute(0, 3, 1, 2)
    torch.testing.assert_close(one.encode(pixels), other.encode(pixels), atol=1e-4, rtol=1e-4)
    assert not torch.equal(one.decode(one.encode(pixels)), other.decode(other.encode(pixels)))


def test_views_are_crops_of_one_cell(trained: Trained) -> None:
    config = EncoderConfig(("a",), "r", cell=16, shift=3, colour=0.0, noise=0.0)
    pixels = torch.randint(256, (5, 3, 19, 19)).to(torch.uint8)
    seen = view(pixels, config, torch.Generator().manual_seed(0))
    assert seen.shape == (5, 3, 16, 16)
    for image, crop in zip(pixels.float() / 127.5 - 1, seen, strict=True):
        crops = image.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert any(torch.equal(crop, candidate) for candidate in crops)


def test_large_windows_come_every_so_often() -> None:
    config = DenoiserConfig(("a",), "r", batch=32, codec="c", encoder="e", window=16)
    assert [crop_size(config, step) for step in range(5)] == [
        (16, 32), (16, 32), (16, 32), (32, 8), (16, 32),
    ]  # fmt: skip
    assert crop_size(replace(config, large_every=0), 3) == (16, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 5}, "must be multiples of 2"),
        ({"large_window": 16}, "fit the largest patch, 8 latents"),
    ],
)
def test_windows_that_cannot_be(trained: Trained, changes: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        next(train_denoiser(replace(trained.denoiser, **changes)))


def test_parts_that_are_not_there(trained: Trained, dataset: Path, tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    with pytest.raises(ModelError, match=r"latents\.json is not usable"):
        next(train_denoiser(replace(trained.denoiser, codec=none)))
    with pytest.raises(ModelError, match=r"the encoder in .* cannot be loaded"):
        next(train_denoiser(replace(trained.denoiser, encoder=none)))
    with pytest.raises(ModelError, match=r"the encoder in .* cannot be loaded"):
        next(train_prior(atlas_of((str(dataset),), tmp_path, none, 20)))


def test_prior_of_patches_of_two_sizes_is_refused(
    trained: Trained, dataset: Path, tmp_path: Path
) -> None:
    other = make_dataset(tmp_path, sources=3, patch=32, val_fraction=0.0)
    config = atlas_of((str(dataset), str(other)), tmp_path, trained.denoiser.encoder, 100)
    with pytest.raises(DataError, match="different numbers of cells"):
        list(train_prior(config))


def test_samples_are_painted_on_the_way(trained: Trained) -> None:
    sheets = {"codec": 2, "denoiser": 3}  # rows: originals, reconstructions, paintings
    for part, rows in sheets.items():
        (path,) = (trained.folder / part / "samples").iterdir()
        assert path.name == f"{part}-{STEPS:07d}.png"
        image = read_raster(path)
        assert image.shape == (3, rows * 66 - 2, 8 * 66 - 2)
        first, second = image[:, :64, :64].astype(int), image[:, 66:130, :64].astype(int)
        assert 0 < np.abs(first - second).mean() < 60  # a reconstruction resembles


def test_samples_do_not_change_what_is_learnt(trained: Trained, tmp_path: Path) -> None:
    weights = []
    for name, every in (("with", 1), ("without", 0)):
        config = replace(
            trained.denoiser, run=str(tmp_path / name), steps=3, sample_every=every, samples=2,
            dropout=0.2,
        )  # fmt: skip
        list(train_denoiser(config))
        weights.append((tmp_path / name / "denoiser" / WEIGHTS).read_bytes())
    assert weights[0] == weights[1]
    assert len(list((tmp_path / "with" / "samples").iterdir())) == 3
    assert not (tmp_path / "without" / "samples").exists()


@pytest.mark.parametrize("network", ["nope", "vit_tiny_patch16_224"])
def test_a_network_that_timm_cannot_make_is_named(network: str) -> None:
    with pytest.raises(UsageError, match=f"network '{network}' cannot be made for cells of 16 px"):
        network_of(EncoderConfig(("a",), "r", network=network, cell=16, shift=3))
