"""The decoder of an AutoencoderDC over a tile: what only the surroundings need is dropped early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Margins = tuple[int, int, int, int]
"""Cells above, below, left and right of a tile."""


def reach(layers: Sequence[int], level: int | None = None) -> float:
    """How far, in latents, pixels depend on the features behind the blocks of ``level``.

    Every 3x3 convolution reaches one cell further at its own stride: one at the entrance, two in a
    residual block, one in an upsampler (before it shuffles). ``layers`` are residual blocks at
    strides 1, 2, 4, ... ; level 0 is the last. None: how far they depend on the latents themselves.
    """
    deepest = len(layers) - 1
    found = 0.0 if level is not None else 1.0 + 2.0 * layers[deepest]
    for below in range((deepest if level is None else level) - 1, -1, -1):
        upsampler_scale = 2.0 ** (deepest - below - 1)
        found += 1.0 / upsampler_scale + 2.0 * layers[below] / (2.0 * upsampler_scale)
    if layers[0] > 0:  # else the last upsampler is the last convolution
        found += 1.0 / 2.0**deepest
    return found


def decode_tile(
    decoder: Any, layers: Sequence[int], latents: torch.Tensor, margins: Margins
) -> torch.Tensor:
    """Pixels of the latents inside ``margins``: (batch, band, row, col), as diffusers' ``Decoder``.

    A margin is the receptive halo, or less where the canvas ends. The halo is mostly that of the
    deepest blocks, so it is cut after every block to what those behind it still need: the costly
    shallow strides see little more than the tile.
    """
    hidden = decoder.conv_in(latents)
    if decoder.in_shortcut:
        hidden = hidden + latents.repeat_interleave(decoder.in_shortcut_repeats, dim=1)
    cells = 1  # of the features along a latent
    for level in range(len(layers) - 1, -1, -1):
        if layers[level] == 0:  # an empty block: its upsampler is the last convolution
            continue
        blocks = list(decoder.up_blocks[level])  # all but the deepest level begin by upsampling
        for index, block in enumerate(blocks):
            hidden = block(hidden)
            up = 2 if index == 0 and level < len(layers) - 1 else 1
            cells *= up
            ahead = 2 * (len(blocks) - 1 - index)  # cells that the level's next blocks reach
            needed = int(np.ceil(reach(layers, level) * cells)) + ahead
            hidden, margins = cut(hidden, margins, up, needed)
    hidden = decoder.conv_act(decoder.norm_out(hidden.movedim(1, -1)).movedim(-1, 1))
    pixels = cut(decoder.conv_out(hidden), margins, 1 if layers[0] > 0 else 2, 0)[0]
    return pixels


def cut(
    features: torch.Tensor, margins: Margins, scale: int, needed: int
) -> tuple[torch.Tensor, Margins]:
    """Features without what their margins, times ``scale``, have beyond ``needed`` cells."""
    top, bottom, left, right = (margin * scale for margin in margins)
    kept = (min(top, needed), min(bottom, needed), min(left, needed), min(right, needed))
    height, width = features.shape[-2:]
    rows = slice(top - kept[0], height - (bottom - kept[1]))
    cols = slice(left - kept[2], width - (right - kept[3]))
    return features[..., rows, cols], kept
