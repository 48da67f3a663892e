"""A latent diffusion checkpoint taken apart: the networks in it, their sizes and their tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from geodiff.diffusion.beta_table import BetaTable
from geodiff.errors import ModelError
from geodiff.models.conditioner import ConditionerSizes, new_conditioner
from geodiff.models.foreign.accounts import Accounts, Part, averaged, part_of, settle
from geodiff.models.foreign.names import codec_name, unet_name
from geodiff.models.foreign.project import Project
from geodiff.models.foreign.schedule import read_table
from geodiff.models.foreign.sizes import (
    CODEC,
    CONDITIONER,
    UNET,
    codec_sizes,
    shapes_of,
    unet_sizes,
)
from geodiff.models.foreign.stored import Stored
from geodiff.models.foreign.tokens import conditioner_name, conditioner_sizes
from geodiff.models.token_denoiser import UNetSizes, new_unet
from geodiff.models.vq_codec import CodecSizes, new_vq

EMA = "model_ema."


@dataclass(frozen=True)
class LatentDiffusion:
    """What a checkpoint holds. ``networks`` are fresh ones of its sizes, without any numbers."""

    networks: Mapping[str, Any]  # codec, denoiser and conditioner
    conditioner: ConditionerSizes
    table: BetaTable
    scale: float  # the denoiser was trained on raw latents times this
    window: int  # latents a side of the windows that it was trained on
    averages: bool  # whether the denoiser's weights are their running averages
    accounts: Accounts


def take_apart(
    state: Mapping[str, Stored],
    project: Project,
    level: int = 0,
    averages: bool = True,
    allow: Sequence[str] = (),
) -> LatentDiffusion:
    """Find the networks and account for every tensor; reads no weights.

    Running averages of the denoiser's weights are preferred, unless ``averages`` is False. Raises
    ModelError where the layout is unknown, something is missing or unknown, or ``project`` says
    other than the tensors, UsageError for a scale ``level`` that the conditioner does not know.
    """
    unet = unet_sizes(shapes_of(state, UNET))
    codec = codec_sizes(shapes_of(state, CODEC))
    held = shapes_of(state, CONDITIONER)
    conditioner = conditioner_sizes(held, project, level)
    agree(project, unet, codec)
    check_fit(unet, codec, conditioner)
    table, buffers = read_table(state, project)
    scale, window = read_scale(state, project), read_window(project, len(unet.widths))
    with torch.device("meta"):
        networks = {
            "codec": new_vq(replace(codec, scale=scale)),
            "denoiser": new_unet(replace(unet, heads=heads(project, unet), size=window)),
            "conditioner": new_conditioner(conditioner),
        }
    raw = part_of(networks["denoiser"], lambda name: unet_name(name, unet), UNET)
    smooth = averaged(raw, "model.")
    chosen = averages and any(name in state for name in smooth.names.values())
    parts = {
        "codec": part_of(networks["codec"], lambda name: codec_name(name, codec), CODEC),
        "denoiser": smooth if chosen else raw,
        "conditioner": part_of(
            networks["conditioner"], lambda name: conditioner_name(name, held), CONDITIONER
        ),
    }
    return LatentDiffusion(
        networks, conditioner, table, scale, window, chosen,
        settle(state, parts, unused(raw, smooth, chosen, buffers), allow),
    )  # fmt: skip


def check_fit(unet: UNetSizes, codec: CodecSizes, conditioner: ConditionerSizes) -> None:
    """Raises ModelError unless the parts fit each other."""
    if unet.context != conditioner.width:
        raise ModelError(
            f"the UNet attends to tokens of length {unet.context}, but the conditioner makes them "
            f"{conditioner.width} long"
        )
    if unet.channels_in != unet.channels_out or unet.channels_in != codec.code:
        raise ModelError(
            f"the UNet takes {unet.channels_in} channels and gives {unet.channels_out}, the "
            f"codec has {codec.code}: only networks that predict noise alone can be imported"
        )


def unused(
    raw: Part, smooth: Part, chosen: bool, buffers: Sequence[str]
) -> dict[str, Sequence[str]]:
    """Tensors that say what others say too, by reason."""
    counters = [f"{EMA}decay", f"{EMA}num_updates"]
    if chosen:
        reason, others = "weights whose running averages were taken", list(raw.names.values())
    else:
        reason, others = "running averages that were not asked for", list(smooth.names.values())
    return {"the noise schedule": buffers, reason: others, "counters of averages": counters}


def heads(project: Project, sizes: UNetSizes) -> int | tuple[int, ...]:
    """Heads of the UNet's attention, which no shape tells; the published models have one."""
    length = project.unet.get("num_head_channels", -1)
    count = project.unet.get("num_heads", 1)
    if type(length) is not int or type(count) is not int or not (length > 0 or count > 0):
        raise ModelError(f"{project.path} gives {count} heads of {length} channels: none is run")
    each = tuple(width // length if length > 0 else count for width in sizes.widths)
    pairs = zip(sizes.widths, each, strict=True)
    if any(number < 1 or width % number for width, number in pairs):
        raise ModelError(f"{project.path} gives heads that do not divide {sizes.widths} channels")
    return each[0] if len(set(each)) == 1 else each


def read_scale(state: Mapping[str, Stored], project: Project) -> float:
    """The factor of the latents: a buffer, else what the configuration says, else 1."""
    held = state.get("scale_factor")
    if held is not None and held.count != 1:
        raise ModelError(f"the checkpoint's scale_factor has the shape {held.shape}: not a number")
    told = project.number(project.model, "scale_factor", 1.0)
    found = told if held is None else held.read().double().item()
    if not 0 < found < 1e6:
        raise ModelError(f"the checkpoint's latents are multiplied by {found}: no such factor")
    return found


def read_window(project: Project, levels: int) -> int:
    """Latents a side of the training windows, as the configuration says, else 64 as published."""
    side = project.number(project.model, "image_size", 64)
    if side != int(side) or not 0 < side <= 4096 or side % 2 ** (levels - 1):
        raise ModelError(f"{project.path} gives an image_size of {side:g} latents: none is run")
    return int(side)


def agree(project: Project, unet: UNetSizes, codec: CodecSizes) -> None:
    """Raises ModelError where the configuration says other than the tensors."""
    first, attended = unet.widths[0], [2**i for i, a in enumerate(unet.attended) if a]
    resolutions = project.unet.get("attention_resolutions")
    if isinstance(resolutions, list) and {type(item) for item in resolutions} == {int}:
        resolutions = sorted(resolutions)
    project.agree("attention_resolutions", resolutions, attended)
    for name, found in (
        ("in_channels", unet.channels_in), ("out_channels", unet.channels_out),
        ("model_channels", first), ("channel_mult", [width / first for width in unet.widths]),
        ("num_res_blocks", unet.blocks), ("transformer_depth", unet.depth),
        ("context_dim", unet.context),
    ):  # fmt: skip
        project.agree(name, project.unet.get(name), found)
    inner = project.codec.get("ddconfig") or {}
    first = codec.widths[0]
    for table, name, found in (
        (project.codec, "embed_dim", codec.code), (project.codec, "n_embed", codec.codes),
        (inner, "z_channels", codec.channels), (inner, "ch", first),
        (inner, "ch_mult", [width / first for width in codec.widths]),
        (inner, "num_res_blocks", codec.blocks),
    ):  # fmt: skip
        project.agree(name, table.get(name), found)
