"""Folders of diffusers that know nothing of geodiff: what their own tables tell the engine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from geodiff.diffusion.beta_table import BetaTable
from geodiff.errors import ModelError
from geodiff.models.conditioner import Conditioner, ConditionerSizes, LinearTokens
from geodiff.models.directory import WIDEST, Directory
from geodiff.models.parts import UNREADABLE, read_json, unreadable
from geodiff.models.protocols import WindowDenoiser
from geodiff.models.token_denoiser import TokenDenoiser, read_unet

SIZES = 1e-9, 1e9
"""Metres per pixel that a model which does not tell its own is used at without a remark."""

SCALE = 0.18215
"""Factor of the latents of a codec of diffusers that does not tell its own."""


def plain_facts(place: Directory) -> dict[str, Any]:
    """What model.toml would say. Raises ModelError for tables that tell too little.

    A window is what the UNet was trained on, a cell of the embedding grid one window.
    """
    codec = read_json(place.path("codec") / "config.json", "codec")
    unet = read_json(place.path("denoiser") / "config.json", "denoiser")
    try:
        window = int(unet["sample_size"])
        if not 1 <= window <= WIDEST:
            raise ValueError(f"sample_size is {window}")
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
    """Mean and deviation of raw latents per channel, from the table of a codec of diffusers.

    Its denoisers see ``(raw - shift) * scale``, or ``(raw - mean) * scale / std`` where it tells
    those of each channel. Raises ModelError for a table that tells no numbers.
    """
    facts = read_json(folder / "config.json", "codec")
    try:
        count = int(facts.get("vq_embed_dim") or facts["latent_channels"])
        scale = float(SCALE if facts.get("scaling_factor") is None else facts["scaling_factor"])
        if not 0 < scale < math.inf:
            raise ValueError(f"scaling_factor is {scale}")
        means = facts.get("latents_mean") or [facts.get("shift_factor") or 0] * count
        spreads = facts.get("latents_std") or [1] * count
        return [float(mean) for mean in means], [float(spread) / scale for spread in spreads]
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable("codec", folder, error) from error


def plain_denoiser(folder: Path, scheduler: Path, bf16: bool) -> WindowDenoiser:
    """A UNet that attends to the window's embedding itself, its only token; null is a zero.

    Raises ModelError for another network, or a schedule that is not known.
    """
    net = read_unet(folder)
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
    try:
        for name, usual, known in (
            ("prediction_type", "epsilon", "epsilon"),
            ("beta_schedule", "linear", "scaled_linear"),
            ("trained_betas", None, None),
            ("rescale_betas_zero_snr", False, False),
        ):  # by entry: what diffusers takes where it is not there, and what is run
            if facts.get(name, usual) != known:
                raise ValueError(f"{name} is {facts.get(name, usual)!r}, only {known!r} is known")
        return BetaTable(
            int(facts["num_train_timesteps"]), float(facts["beta_start"]), float(facts["beta_end"])
        )
    except KeyError as error:
        named = facts.get("_class_name")
        raise unreadable("scheduler", folder, ValueError(f"{named} tells no {error}")) from error
    except UNREADABLE as error:
        raise unreadable("scheduler", folder, error) from error
