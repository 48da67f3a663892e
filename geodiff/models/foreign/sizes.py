"""How large the networks in a latent diffusion checkpoint are, told by names and shapes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from geodiff.errors import ModelError
from geodiff.models.foreign.stored import Stored
from geodiff.models.token_denoiser import UNetSizes
from geodiff.models.vq_codec import CodecSizes

UNET = "model.diffusion_model."
CODEC = "first_stage_model."
CONDITIONER = "cond_stage_model."

Shapes = Mapping[str, tuple[int, ...]]

LEVELS, BLOCKS, DEPTH = 8, 16, 64
"""Levels of a network, blocks of a level, and layers of a transformer, at most."""

LONGEST = 2**20
"""Elements along an axis of a tensor that sizes are read off, at most."""

LAYERS = ".transformer_blocks."
"""What stands before the number of a transformer's layer."""

GROUPS = 32
"""Groups of channels that its norms see together."""


def shapes_of(state: Mapping[str, Stored], prefix: str) -> Shapes:
    """Shapes of the tensors whose names begin with ``prefix``, by the rest of their names."""
    return {
        name.removeprefix(prefix): tensor.shape
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def unet_sizes(shapes: Shapes) -> UNetSizes:
    """Sizes of the UNet. Raises ModelError where it is none, or none that can be represented."""
    first = sized(shapes, "input_blocks.0.0.weight", 4, UNET)
    widths, counts, attended = levels_of(walk_unet(shapes), "UNet")
    keys = [name for name in shapes if name.endswith("attn2.to_k.weight") and LAYERS in name]
    if not keys:
        raise ModelError(
            "the UNet in the checkpoint has no cross-attention: only models conditioned on "
            "embeddings can be imported"
        )
    blocks = {name.split(LAYERS)[1].split(".")[0] for name in keys}
    if len(blocks) > DEPTH:
        raise ModelError(f"the UNet in the checkpoint has transformers of {len(blocks)} layers")
    return UNetSizes(
        channels_in=first[1],
        channels_out=sized(shapes, "out.2.weight", 4, UNET)[0],
        widths=widths,
        blocks=counts,
        attended=attended,
        depth=len(blocks),
        context=sized(shapes, keys[0], 2, UNET)[1],
    )


def walk_unet(shapes: Shapes) -> Iterator[tuple[int, int, bool]]:
    """Level, channels and attention of each residual block on the way down."""
    level = 0
    for index in range(1, LEVELS * (BLOCKS + 1)):
        block = f"input_blocks.{index}."
        if f"{block}0.op.weight" in shapes:
            level += 1
        elif f"{block}0.out_layers.3.weight" in shapes:
            shape = sized(shapes, f"{block}0.out_layers.3.weight", 4, UNET)
            yield level, shape[0], f"{block}1.proj_in.weight" in shapes
        else:
            return


def codec_sizes(shapes: Shapes) -> CodecSizes:
    """Sizes of the autoencoder. Raises ModelError where it is none, or not vector-quantised."""
    if shapes and "quantize.embedding.weight" not in shapes:
        raise ModelError(
            "the autoencoder in the checkpoint is not vector-quantised (it has no "
            f"{CODEC}quantize.embedding.weight): only VQ autoencoders can be imported"
        )
    codes, code = sized(shapes, "quantize.embedding.weight", 2, CODEC)
    widths, counts, attended = levels_of(walk_codec(shapes), "autoencoder")
    return CodecSizes(
        widths=widths,
        blocks=counts,
        attended=attended,
        channels=sized(shapes, "encoder.conv_out.weight", 4, CODEC)[0],
        codes=codes,
        code=code,
    )


def walk_codec(shapes: Shapes) -> Iterator[tuple[int, int, bool]]:
    """Level, channels and attention of each residual block of the encoder."""
    for level in range(LEVELS):
        for block in range(BLOCKS):
            name = f"encoder.down.{level}.block.{block}.conv2.weight"
            if name in shapes:
                attention = f"encoder.down.{level}.attn.{block}.q.weight" in shapes
                yield level, sized(shapes, name, 4, CODEC)[0], attention


def levels_of(
    blocks: Iterator[tuple[int, int, bool]], what: str
) -> tuple[tuple[int, ...], int, tuple[bool, ...]]:
    """Channels of each level, blocks of a level, attention of each level.

    Raises ModelError unless all blocks of a level are alike and all levels have as many.
    """
    found: dict[int, list[tuple[int, bool]]] = {}
    for level, channels, attention in blocks:
        found.setdefault(level, []).append((channels, attention))
    counts = {len(level) for level in found.values()}
    if len(counts) != 1 or any(len(set(level)) != 1 for level in found.values()):
        raise ModelError(
            f"the {what} in the checkpoint has {len(found)} levels, which are not built alike: "
            "its layout is not one that can be imported"
        )
    levels = [found[level][0] for level in sorted(found)]
    if any(channels % GROUPS for channels, _ in levels):
        raise ModelError(
            f"the {what} in the checkpoint has levels of {[c for c, _ in levels]} channels: its "
            f"norms need multiples of {GROUPS}"
        )
    return tuple(c for c, _ in levels), counts.pop(), tuple(a for _, a in levels)


def sized(shapes: Shapes, name: str, axes: int, prefix: str) -> tuple[int, ...]:
    """The shape of a tensor that has to be there. Raises ModelError otherwise."""
    shape = shapes.get(name)
    if shape is None or len(shape) != axes or not 0 < min(shape) <= max(shape) <= LONGEST:
        fault = "is missing" if shape is None else f"has the shape {shape}"
        raise ModelError(
            f"the checkpoint is not of a latent diffusion model with this layout: {prefix}{name} "
            f"{fault}"
        )
    return shape
