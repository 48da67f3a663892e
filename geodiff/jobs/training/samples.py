"""Pictures of a network in training: reconstructions, and patches painted from embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.diffusion import Denoise, Guided, Precondition, dpmpp_2m, flow_sigmas
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.training.latents import crop_fields, embed_cells
from geodiff.jobs.training.sheets import sheet
from geodiff.models.codec import Codec
from geodiff.models.denoiser import FieldUNet
from geodiff.models.encoder import Encoder

LARGEST = 256
"""Pixels a side that a sample takes at most."""

STEPS = 16
GUIDANCE = 2.0

Image = NDArray[np.uint8]


def examples(sets: Sequence[PatchSet], count: int, unit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Held-out patches of all sets in turn, and their metres per pixel (count,).

    Patches are uint8 (count, 3, side, side), ``side`` a multiple of ``unit``. A set without
    validation patches gives training patches.
    """
    side = min(LARGEST, *(min(s.pixels.shape[1:3]) for s in sets)) // unit * unit
    side = max(side, unit)
    images, gsd = [], []
    for number in range(count):
        patches = sets[number % len(sets)]
        rows = patches.split("val")
        rows = rows if len(rows) else patches.split("train")
        turn, turns = number // len(sets), -(-count // len(sets))
        row = rows[len(rows) * turn // turns]
        images.append(np.array(patches.pixels[row, :side, :side]))
        gsd.append(patches.gsd)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return pixels, torch.tensor(gsd)


def rows_of(*rows: torch.Tensor) -> Image:
    """Rows of pictures below one another; each uint8 (n, 3, height, width)."""
    pictures = [image for row in rows for image in row.cpu().permute(0, 2, 3, 1).numpy()]
    return sheet(pictures, columns=len(rows[0]))


@torch.no_grad()
def reconstructions(net: torch.nn.Module, pixels: torch.Tensor) -> Image:
    """Sheet of originals above what a codec's network makes of them."""
    device = next(net.parameters()).device
    codec = Codec(net, torch.zeros(1, device=device), torch.ones(1, device=device))
    made = [codec.decode(codec.encode(part)).cpu() for part in torch.split(pixels, 4)]
    return rows_of(pixels, torch.cat(made))


@torch.no_grad()
def paintings(
    net: FieldUNet,
    codec: Codec,
    encoder: Encoder,
    pixels: torch.Tensor,
    gsd: torch.Tensor,
    bf16: bool,
) -> Image:
    """Sheet of originals, what the codec keeps of them, and what is painted from embeddings alone.

    ``codec``, ``encoder`` and ``net`` are on one device; the noise is the same at every step.
    """
    device = next(net.parameters()).device
    n, _, height, width = pixels.shape
    f = codec.factor
    where = [
        np.tile((np.arange(side // f) + 0.5) * f / encoder.cell, (n, 1)) for side in (height, width)
    ]
    vectors = crop_fields(embed_cells(pixels, encoder), *where)
    field = torch.from_numpy(np.moveaxis(vectors, -1, 1).copy()).to(device)
    metres = gsd.to(device)

    def bound(asked: bool) -> Denoise:
        known = torch.full((n,), asked, device=device)

        def velocity(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                out: torch.Tensor = net(noisy, time, field, metres, known)
            return out.float()

        return Precondition(velocity)

    sigmas = flow_sigmas(STEPS)
    noise = torch.randn(
        (n, codec.channels, height // f, width // f), generator=torch.Generator().manual_seed(0)
    )
    state = noise.to(device) * float(sigmas[0])
    for latents in dpmpp_2m(Guided(bound(True), bound(False), GUIDANCE), state, sigmas):
        state = latents
    kept = codec.decode(codec.encode(pixels)).cpu()
    return rows_of(pixels, kept, codec.decode(state).cpu())


def unit_of(codec: Codec, encoder: Encoder, levels: int) -> int:
    """Pixels that a sample's side must be a multiple of: whole cells, and latents to be halved."""
    return lcm(encoder.cell, codec.factor * 2 ** (levels - 1))
