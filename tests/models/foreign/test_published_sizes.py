"""The published models at their own sizes: names and shapes, without their numbers in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from geodiff.models.foreign.latent_diffusion import LatentDiffusion, take_apart
from geodiff.models.foreign.project import read_project
from geodiff.models.foreign.published import recognise
from geodiff.models.foreign.stored import Stored, contiguous
from tests.models.foreign import ldm
from tests.models.foreign.placing import stored

UNET = dict(base=192, mult=(1, 2, 3, 5), blocks=2, attended=(2, 4, 8), context=512)

CONFIG = """
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0195
    timesteps: 1000
    cond_stage_key: hybrid
    conditioning_key: crossattn
    unet_config:
      params:
        in_channels: 3
        out_channels: 3
        model_channels: 192
        attention_resolutions: [8, 4, 2]
        num_res_blocks: 2
        channel_mult: [1, 2, 3, 5]
        num_heads: 1
        transformer_depth: 1
        context_dim: 512
    first_stage_config:
      params:
        embed_dim: 3
        n_embed: 8192
        ddconfig: {z_channels: 3, ch: 128, ch_mult: [1, 2, 4], num_res_blocks: 2}
    cond_stage_config:
      params: %s
data:
  params:
    train:
      target: %s
      params: {config: {split: train, magnification: %s}}
"""


@dataclass(frozen=True)
class Nowhere:
    """Room for numbers that nobody reads."""

    size: int

    def read(self) -> bytearray:
        raise AssertionError("weights are read although only their names and shapes matter")


def published(conditioner: Any, averages: bool) -> dict[str, Stored]:
    """The tensors of a published checkpoint."""
    with torch.device("meta"):
        nets = {
            "model.diffusion_model.": ldm.UNet(**UNET),
            "first_stage_model.": ldm.Autoencoder(base=128, mult=(1, 2, 4), codes=8192),
            "cond_stage_model.": conditioner(),
        }
    shapes = {
        prefix + name: tuple(value.shape)
        for prefix, net in nets.items()
        for name, value in net.state_dict().items()
    }
    if averages:
        shapes |= {
            "model_ema." + name.removeprefix("model.").replace(".", ""): shape
            for name, shape in shapes.items()
            if name.startswith("model.")
        }
        shapes |= {"model_ema.decay": (), "model_ema.num_updates": ()}
    return stored(ldm.schedule()) | {
        name: Stored(Nowhere(2**40), torch.float32, shape, contiguous(shape))
        for name, shape in shapes.items()
    }


def count(found: LatentDiffusion, part: str) -> int:
    return sum(value.numel() for value in found.networks[part].state_dict().values())


ONE = "{patch_embed_dim: 768, normalize_ssl: true}"
TWO = "{patch_embed_dim: 384, region_embed_dim: 768, normalize_ssl: true}"
MANY = "{num_layers: 12, input_channels: 1024, hidden_channels: 512, vit_mlp_dim: 2048}"


@pytest.mark.parametrize(
    ("kind", "options", "dataset", "magnification", "weights"),
    [
        ("naip", ONE, "naip_ssl.NAIPDataset", "1x", 393_728),
        ("crc-20x", ONE, "crc_only_patch.TCGADataset", "20x", 393_728),
        ("brca-5x", ONE, "brca_only_patch.TCGADataset", "5x", 393_728),
        ("brca-20x", TWO, "brca_only_ssl.TCGADataset", "20x", 590_848),
        ("zoomldm-naip", MANY, "naip.NAIPDataset", "1x", 38_653_952),
        ("zoomldm-brca", MANY, "brca.TCGADataset", "20x", 38_656_000),
    ],
)
def test_every_tensor_of_a_published_model(
    kind: str, options: str, dataset: str, magnification: str, weights: int, tmp_path: Path
) -> None:
    def conditioner() -> torch.nn.Module:
        if options is ONE:
            return ldm.Patch(768, 512)
        if options is TWO:
            return ldm.Patch(384, 512, region=768)
        return ldm.Summarizer(1024, 512, 4 if "naip" in kind else 8, 512, 12, 8, 2048)

    path = tmp_path / "project.yaml"
    path.write_text(CONFIG % (options, dataset, magnification))
    project = read_project(path)
    averages = options is MANY
    found = take_apart(published(conditioner, averages), project)
    assert recognise(None, found.conditioner, project) == kind
    assert found.averages == averages
    assert found.accounts.allowed == []
    assert found.conditioner.tokens == {ONE: 1, TWO: 2, MANY: 65}[options]
    assert (count(found, "denoiser"), count(found, "codec")) == (400_920_579, 55_322_782)
    assert count(found, "conditioner") == weights
    assert (found.table.steps, found.table.start, found.table.end) == (1000, 0.0015, 0.0195)
