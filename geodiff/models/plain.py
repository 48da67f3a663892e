"""Folders of diffusers that know nothing of geodiff: what their own tables tell the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from geodiff.diffusion.beta_table import BetaTable
from geodiff.errors import ModelError
from geodiff.models.conditioner import Conditioner, ConditionerSizes, LinearTokens
from geodiff.models.directory import Directory
from geodiff.models.parts import UNREADABLE, read_json, read_network, unreadable
from geodiff.models.protocols import WindowDenoiser
from geodiff.models.token_denoiser import TokenDenoiser
from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import UNet2DConditionModel  # noqa: E402  (needs the shim first)

SIZES = 1e-9, 1e9
"""Metres per pixel that a model which does not tell its own is used at without a remark."""


def plain_facts(place: Directory) -> dict[str, Any]:
    """What model.toml would say. Raises ModelError for tables that tell too little.

    A window is what the UNet was trained on, a cell of the embedding grid one window.
    """
    codec = read_json(place.path("codec") / "config.json", "codec")
    unet = read_json(place.path("denoiser") / "config.json", "denoiser")
    try:
        window = int(unet["sample_size"])
        factor = 2 ** (len(codec["block_out_channels"]) - 1)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{place.path('denoiser') / 'config.json'} tells no sample_size, the side of a window "
            "in latents: write a model.toml with it (see docs/models.md)"
        ) from error
    return {
        "name": place.folder.name,
        "gsd": 1.0,
        "gsd_range": SIZES,
        "window": window,
        "guidance": 1.0,
        "steer": 0.0,
        "cell": window * factor,
        "credit": "",
        "licence": "unknown, see its authors' card",
    }


def plain_statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of raw latents per channel, from the scale of a codec of diffusers."""
    facts = read_json(folder / "config.json", "codec")
    try:
        count = int(facts["latent_channels"])
        scale = float(facts.get("scaling_factor") or 1)
        shift = float(facts.get("shift_factor") or 0)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable("codec", folder, error) from error
    return [shift] * count, [1 / scale] * count


def plain_denoiser(folder: Path, scheduler: Path, bf16: bool) -> WindowDenoiser:
    """A UNet that attends to the window's embedding itself, its only token; null is a zero.

    Raises ModelError for another network, or a schedule that is not known.
    """
    net = read_network(UNet2DConditionModel, folder, "denoiser")
    dim = net.config["cross_attention_dim"]
    if not isinstance(dim, int):
        raise ModelError(f"the denoiser in {folder} attends to several kinds of tokens: {dim}")
    tokens = LinearTokens(ConditionerSizes("patch", dim, dim))
    with torch.no_grad():
        tokens.patch_fc.weight.copy_(torch.eye(dim))
        tokens.patch_fc.bias.zero_()
    conditioner = Conditioner(
        tokens.eval().requires_grad_(False), ConditionerSizes("patch", dim, dim)
    )
    return TokenDenoiser.of(net, conditioner, plain_schedule(scheduler), bf16)


def plain_schedule(folder: Path) -> BetaTable:
    """The table of betas of a scheduler of diffusers. Raises ModelError for another kind."""
    facts = read_json(folder / "scheduler_config.json", "scheduler")
    known = {"prediction_type": "epsilon", "beta_schedule": "scaled_linear"}
    try:
        for name, value in known.items():
            if facts.get(name, value) != value:
                raise ValueError(f"{name} is {facts[name]!r}, only {value!r} is known")
        return BetaTable(
            int(facts["num_train_timesteps"]), float(facts["beta_start"]), float(facts["beta_end"])
        )
    except UNREADABLE as error:
        raise unreadable("scheduler", folder, error) from error
