"""Tiny models of the published layouts, each built once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.foreign import ldm


@pytest.fixture(scope="session")
def naip() -> ldm.LatentDiffusion:
    """One token, as the models of NAIP, CRC and BRCA at 5x have it."""
    return ldm.LatentDiffusion(ldm.Patch())


@pytest.fixture(scope="session")
def brca() -> ldm.LatentDiffusion:
    """Two tokens, as the model of BRCA at 20x has it; two heads and two blocks a transformer."""
    unet = ldm.UNet(mult=(1, 2), blocks=1, attended=(2,), heads=2, depth=2)
    return ldm.LatentDiffusion(ldm.Patch(region=10), unet, seed=3)


@pytest.fixture(scope="session")
def zoom() -> ldm.LatentDiffusion:
    """65 tokens, as ZoomLDM has it; transformers at all levels."""
    unet = ldm.UNet(mult=(1, 2), blocks=1, attended=(1, 2))
    return ldm.LatentDiffusion(ldm.Summarizer(), unet, seed=6)


@pytest.fixture(scope="session")
def checkpoint(naip: ldm.LatentDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of one of them, never written to."""
    path = tmp_path_factory.mktemp("checkpoints") / "last.ckpt"
    torch.save({"state_dict": naip.state(), "epoch": 3, "global_step": 900}, path)
    return path
