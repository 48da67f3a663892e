"""A model directory of the real layout with tiny random networks, for tests of whole jobs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch

from geodiff.models.codec import Codec, new_autoencoder
from geodiff.models.denoiser import Denoiser, FieldUNet
from geodiff.models.diffusion_prior import DiffusionPrior
from geodiff.models.encoder import CellNetwork, Encoder
from geodiff.models.prior import AtlasPrior
from geodiff.models.prior_network import CellTransformer
from geodiff.models.probe import LatentNetwork, Probe
from geodiff.models.whitening import Whitening

FACTS = """
name = "tiny"
gsd = 0.6
gsd_range = [0.3, 1.0]
window = 8
guidance = 1.5
credit = "random numbers"
licence = "none"
"""


def lively_unet() -> FieldUNet:
    """A tiny network none of whose layers is zero; channels 4, embeddings of 8."""
    torch.manual_seed(0)
    net: FieldUNet = FieldUNet(4, 8, (16, 32), 1, 4).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write a model of cell 16 px, 8 features and windows of 8 latents (64 px)."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    codec = new_autoencoder(4, (8, 8, 16, 16), (0, 1, 1, 1), (0, 1, 1, 1)).eval()
    Codec(codec, torch.zeros(4), torch.ones(4)).save(folder / "codec")
    (folder / "codec" / "latents.json").write_text(json.dumps({"mean": [0] * 4, "std": [1] * 4}))
    encoder = CellNetwork("test_resnet", 8, 16).eval()
    Encoder(encoder, "test_resnet", 8, 16).save(folder / "encoder")
    denoiser = FieldUNet(4, 8, (16, 32), 1, 4).eval()
    Denoiser(denoiser).save(folder / "denoiser")
    blocks = np.random.default_rng(seed).standard_normal((16, 4, 4, 8)).astype(np.float32)
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    AtlasPrior.fit(blocks).save(folder / "prior")
    (folder / "model.toml").write_text(FACTS)
    return folder


def labelled_model(folder: Path, out: Path, labels: tuple[str, ...], text: str = "") -> Path:
    """A copy of the tiny model in ``folder`` with a diffusion prior that knows ``labels``."""
    shutil.copytree(folder, out)
    shutil.rmtree(out / "prior")
    torch.manual_seed(0)
    net = CellTransformer(8, 4, 384 if text else 0, len(labels), width=16, depth=1, heads=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    vectors = np.random.default_rng(0).standard_normal((99, 8)).astype(np.float32)
    prior = DiffusionPrior(net, Whitening.fit(vectors), labels, text, steps=3)
    prior.save(out / "prior")
    return out


def probed_model(folder: Path, out: Path, steer: float = 0.3) -> Path:
    """A copy of the tiny model in ``folder`` with a probe, for cells of 2 latents a side."""
    shutil.copytree(folder, out)
    torch.manual_seed(0)
    Probe(LatentNetwork(4, 8, 2, (8, 16))).save(out / "probe")
    with (out / "model.toml").open("a") as facts:
        facts.write(f"steer = {steer}\n")
    return out
