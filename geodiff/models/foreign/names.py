"""Names of tensors: diffusers' networks and the same networks in latent diffusion checkpoints.

Both functions answer where a tensor of a diffusers network lies in the checkpoint; the layouts are
those of Rombach et al. 2022 (arXiv:2112.10752) as their checkpoints have them.
"""

from __future__ import annotations

from geodiff.models.token_denoiser import UNetSizes
from geodiff.models.vq_codec import CodecSizes

RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
"""Layers of a residual block of the UNet."""

ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
"""What comes before and after the UNet's blocks."""

ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
"""Layers of the attention of an autoencoder."""


def unet_name(name: str, sizes: UNetSizes) -> str:
    """Name in the checkpoint of the tensor ``name`` of a UNet2DConditionModel."""
    layer, _, kind = name.rpartition(".")
    if layer in ENDS:
        return f"{ENDS[layer]}.{kind}"
    side, *rest = name.split(".")
    run = sizes.blocks + 1
    if side == "mid_block":
        family, index, *rest = rest
        number = 1 if family == "attentions" else 2 * int(index)
        return f"middle_block.{number}.{within(family, rest)}"
    level, family, index, *rest = rest
    if side == "down_blocks":
        if family == "downsamplers":
            return f"input_blocks.{(int(level) + 1) * run}.0.op.{kind}"
        block = f"input_blocks.{1 + int(level) * run + int(index)}"
    else:
        block = f"output_blocks.{int(level) * run + int(index)}"
        if family == "upsamplers":
            attended = sizes.attended[len(sizes.widths) - 1 - int(level)]
            last = int(level) * run + run - 1
            return f"output_blocks.{last}.{2 if attended else 1}.conv.{kind}"
    return f"{block}.{1 if family == 'attentions' else 0}.{within(family, rest)}"


def within(family: str, rest: list[str]) -> str:
    """The part of a name inside a residual block, or inside a transformer (the same in both)."""
    if family == "attentions":
        return ".".join(rest)
    return f"{RESIDUAL[rest[0]]}.{rest[1]}"


def codec_name(name: str, sizes: CodecSizes) -> str:
    """Name in the checkpoint of the tensor ``name`` of a VQModel."""
    side, *rest = name.split(".")
    if side not in ("encoder", "decoder") or rest[0] in ("conv_in", "conv_out"):
        return name
    if rest[0] == "conv_norm_out":
        return f"{side}.norm_out.{rest[1]}"
    if rest[0] == "mid_block":
        family, index, *layer = rest[1:]
        if family == "attentions":
            return f"{side}.mid.attn_1.{attention(layer)}"
        return f"{side}.mid.block_{int(index) + 1}.{residual(layer)}"
    level, family, index, *layer = rest[1:]
    if side == "encoder":
        place = f"encoder.down.{level}"
    else:
        place = f"decoder.up.{len(sizes.widths) - 1 - int(level)}"
    if family in ("downsamplers", "upsamplers"):
        return f"{place}.{family.removesuffix('rs')}.{'.'.join(layer)}"
    if family == "attentions":
        return f"{place}.attn.{index}.{attention(layer)}"
    return f"{place}.block.{index}.{residual(layer)}"


def residual(layer: list[str]) -> str:
    """A layer of a residual block of an autoencoder."""
    return ".".join(["nin_shortcut" if layer[0] == "conv_shortcut" else layer[0], *layer[1:]])


def attention(layer: list[str]) -> str:
    """A layer of the attention of an autoencoder."""
    return f"{ATTENTION['.'.join(layer[:-1])]}.{layer[-1]}"
