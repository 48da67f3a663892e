"""A model directory as `geodiff import` writes it, with tiny random networks."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from geodiff.models.conditioner import ConditionerSizes, new_conditioner, write_conditioner
from geodiff.models.parts import write_tensors
from geodiff.models.token_denoiser import UNetSizes, new_unet
from geodiff.models.vq_codec import CodecSizes, new_vq

FACTS = """
name = "tokens"
gsd = 1.0
gsd_range = [1.0, 1.0]
window = 8
cell = 32
guidance = 2.0
credit = "random numbers"
licence = "none"
"""


def token_model(folder: Path, dim: int = 12, width: int = 24, region: int = 0) -> Path:
    """Write a model of factor 4, windows of 8 latents, cells of 32 px and embeddings of ``dim``."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    codec = new_vq(CodecSizes((32, 32, 32), 1, (False, False, False), 3, 40, 3))
    write(codec, folder / "codec")
    latents = {"mean": [0.0] * 3, "std": [1.0] * 3}
    (folder / "codec" / "latents.json").write_text(json.dumps(latents))
    sizes = UNetSizes(3, 3, (32, 32, 64), 1, (False, True, True), 1, 24)
    write(new_unet(sizes), folder / "denoiser")
    schedule = {
        "prediction": "epsilon", "steps": 1000, "beta_schedule": "scaled_linear",
        "beta_start": 0.0015, "beta_end": 0.0195,
    }  # fmt: skip
    (folder / "denoiser" / "schedule.json").write_text(json.dumps(schedule))
    kind = "pair" if region else "patch"
    tokens = ConditionerSizes(kind, dim, width, region=region)
    write_conditioner(tokens, new_conditioner(tokens).state_dict(), folder / "conditioner")
    (folder / "model.toml").write_text(FACTS)
    return folder


def write(net: nn.Module, folder: Path) -> None:
    """Write a diffusers network none of whose layers is plain, in single precision."""
    tensors = {
        name: (value + 0.05 * torch.randn_like(value)).contiguous()
        for name, value in net.state_dict().items()
    }
    write_tensors(net, tensors, folder)
