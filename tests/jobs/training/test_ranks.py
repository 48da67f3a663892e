"""Two ranks with half a batch each follow the trajectory of one process, to rounding."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geodiff.errors import UsageError
from geodiff.jobs.datasets.dataset import CropSampler, PatchSet
from geodiff.jobs.train_codec import train_codec
from geodiff.jobs.train_denoiser import check_ranks, train_denoiser
from geodiff.jobs.train_encoder import train_encoder
from geodiff.jobs.training import ranks
from geodiff.jobs.training.config import CodecConfig, DenoiserConfig, EncoderConfig
from geodiff.jobs.training.ranks import Ranks, share_norms, start

ROOT = Path(__file__).parents[3]


def parts(
    dataset: str, folder: str, given: str
) -> tuple[CodecConfig, EncoderConfig, DenoiserConfig]:
    """Tiny trainings of three steps in single precision, with one batch of large windows."""
    sets = (dataset,)

    def common(part: str) -> dict[str, object]:
        return {
            "datasets": sets, "run": f"{folder}/{part}", "steps": 3, "warmup": 1, "ema": 0.9,
            "learning_rate": 1e-3, "log_every": 1, "save_every": 2, "bf16": False,
            "sample_every": 3, "samples": 2, "device": "cpu",
        }  # fmt: skip

    codec = CodecConfig(
        **common("codec"), batch=4, crop=32, widths=(8, 8, 16, 16), gradient=0.1, texture=0.1,
        encoder_layers=(0, 1, 1, 1), decoder_layers=(0, 1, 1, 1),
    )  # type: ignore[arg-type]  # fmt: skip
    encoder = EncoderConfig(
        **common("encoder"), batch=8, network="resnet10t", dim=8, cell=32, shift=3
    )  # type: ignore[arg-type]
    denoiser = DenoiserConfig(
        **common("denoiser"), batch=8, codec=f"{given}/codec/codec", window=4, layers=1,
        encoder=f"{given}/encoder/encoder", large_window=8, large_every=2, widths=(16, 32),
        field_channels=4, orientations=(2,),
    )  # type: ignore[arg-type]  # fmt: skip
    return codec, encoder, denoiser


def train_all(dataset: str, folder: str, given: str) -> None:
    """Train all three; the denoiser on the codec and the encoder in ``given``."""
    codec, encoder, denoiser = parts(dataset, folder, given)
    for _ in train_codec(codec):
        pass
    for _ in train_encoder(encoder):
        pass
    for _ in train_denoiser(denoiser):
        pass


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def two_ranks(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """`train_all` in this process and another one, as torchrun's variables would describe them."""
    code = f"from tests.jobs.training.test_ranks import train_all; train_all(*{arguments!r})"
    shared = {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        env={
            **os.environ, **shared, "RANK": "1", "LOCAL_RANK": "1", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        },
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    monkeypatch.setattr(ranks, "PATIENCE", timedelta(minutes=5))
    for name, value in {**shared, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    try:
        train_all(*arguments)
        _, said = other.communicate(timeout=60)
        assert other.returncode == 0, said
    finally:
        other.kill()
        other.wait()


def test_two_ranks_follow_the_trajectory_of_one(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    one_folder = str(tmp_path / "one")
    train_all(str(dataset), one_folder, one_folder)
    two_ranks(monkeypatch, str(dataset), str(tmp_path / "two"), one_folder)
    for part in ("codec", "encoder", "denoiser"):
        one, two = (
            load_file(tmp_path / name / part / "state.safetensors") for name in ("one", "two")
        )
        assert one.keys() == two.keys()
        # Means of gradients, not weights: a bias under a norm has a gradient of rounding alone, and
        # Adam makes whole steps of that.
        means = [name for name in one if name.startswith("exp_avg.")]
        largest = max(float(one[name].abs().max()) for name in means)
        for name in means:
            off = float((one[name] - two[name]).abs().max())
            assert off < 2e-3 * largest, f"{part} {name}: {off:g} of {largest:g}"
        tables = [read_metrics(tmp_path / name / part / "metrics.csv") for name in ("one", "two")]
        assert tables[0].keys() == tables[1].keys()  # one rank writes them
        for key, value in tables[0].items():
            assert tables[1][key] == pytest.approx(value, rel=2e-3), f"{part} {key}"


def read_metrics(path: Path) -> dict[tuple[str, str, str], float]:
    """Step, stage and name -> loss, gradient norm or loss of validation."""
    with path.open(newline="") as file:
        return {
            (row["step"], row["stage"], name): float(row[name])
            for row in csv.DictReader(file)
            for name in ("loss", "norm", "val_loss")
            if row.get(name)
        }


def test_shares_are_disjoint_and_complete_and_their_weights_make_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=7)
    three = [Ranks(rank, 3) for rank in range(3)]
    assert sorted(v for r in three for v in values[r.share(7)]) == sorted(values)
    mean = np.mean([values[r.share(7)].mean() * r.weight(7) for r in three])
    assert mean == pytest.approx(values.mean())
    assert Ranks().share(7) == slice(0, 7, 1)
    assert Ranks().weight(7) == 1.0


def test_a_share_of_crops_is_that_part_of_the_batch(dataset: Path) -> None:
    sampler = CropSampler((PatchSet.open(dataset),), 32, seed=1)
    whole, gsd = sampler.batch(3, 6)
    for rank in range(2):
        share = Ranks(rank, 2).share(6)
        images, metres = sampler.batch(3, 6, share)
        assert np.array_equal(images, whole[share])
        assert np.array_equal(metres, gsd[share])


def test_one_process_is_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    share_norms(net, Ranks())
    assert "forward" not in vars(net[1])
    with start("cpu") as alone:
        assert (alone.rank, alone.world, alone.device.type, alone.lead) == (0, 1, "cpu", True)
        value = torch.ones(2, requires_grad=True)
        assert alone.gather(value) is value
        alone.wait()
        alone.agree(3)


def test_batches_that_cannot_be_shared() -> None:
    with pytest.raises(UsageError, match="batch 5 does not divide by the 2 ranks"):
        Ranks(0, 2).check(5)
    config = DenoiserConfig(("a",), "r", batch=8, codec="c", encoder="e")
    with pytest.raises(UsageError, match="2 large windows in a batch are fewer than 4 ranks"):
        check_ranks(config, Ranks(0, 4))
