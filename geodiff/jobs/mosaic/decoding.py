"""Latents of a canvas -> pixels, tile by tile: exact where the codec is local, else blended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geodiff.diffusion import canvas as memory
from geodiff.diffusion import cover
from geodiff.jobs.mosaic.modes import WEIGHTS, Sampling
from geodiff.models.bundle import Model
from geodiff.window import Window

TILE = 128
"""Latents a side of the tiles that are handed out (1,024 px at factor 8)."""

AT_ONCE = 2**17
"""Pixels that a codec of the whole window decodes in one call: the paper's takes 3 KB for each."""

Pixels = NDArray[np.uint8]


def count_tiles(core: Window) -> int:
    """How many tiles ``decode`` gives for a core."""
    rows, cols = core.zoom_out(TILE).shape
    return rows * cols


def decode(
    model: Model, sampling: Sampling, latents: Tensor, canvas: Window, core: Window
) -> Iterator[tuple[Window, Pixels]]:
    """Pixels of ``core``, a window of latents inside ``canvas``, which ``latents`` cover.

    ``latents`` is (1, channel, row, col). Yields windows of pixels on the lattice with their uint8
    (3, row, col), by rows: disjoint, together exactly the core, with borders at multiples of TILE
    latents of the lattice. Raises ValueError unless the canvas holds the core.

    A local codec decodes each tile with its receptive halo. The tile that is decoded is a whole one
    of the lattice, as far as the canvas goes, whatever part of it the core wants: convolutions
    of one shape give one sum, so the pixels do not depend on the core to the bit. A codec that is
    not local, and a sampling with ``decode_stride``, decode windows of the sampling's size, which
    the codec was trained on, and blend them.
    """
    core.within(canvas)
    if not is_blended(model, sampling):
        assert model.codec.halo is not None
        return _exact(model, latents, canvas, core, model.codec.halo)
    return _blended(model, sampling, latents, canvas, core)


def _exact(
    model: Model, latents: Tensor, canvas: Window, core: Window, halo: int
) -> Iterator[tuple[Window, Pixels]]:
    factor = model.codec.factor
    for tile in core.tiles(TILE):
        around = tile.snap(TILE).pad(halo).intersect(canvas)
        assert around is not None  # it holds the tile
        whole = tile.snap(TILE).intersect(canvas)
        assert whole is not None
        margins = (
            whole.row - around.row, around.bottom - whole.bottom,
            whole.col - around.col, around.right - whole.right,
        )  # fmt: skip
        rows, cols = around.within(canvas)
        part = latents[:, :, rows, cols].to(model.device)
        pixels = model.codec.decode_tile(part, margins)[0].cpu().numpy()
        window = tile.zoom_in(factor)
        rows, cols = window.within(whole.zoom_in(factor))
        yield window, np.ascontiguousarray(pixels[:, rows, cols])


def _blended(
    model: Model, sampling: Sampling, latents: Tensor, canvas: Window, core: Window
) -> Iterator[tuple[Window, Pixels]]:
    """Windows by rows, added up over one row of tiles and what sticks out below it."""
    factor, size = model.codec.factor, sampling.size
    weights = WEIGHTS[sampling.decode_weights](size * factor)
    # The last of the four is the sum of the weights.
    total = memory.zeros((4, (TILE + size) * factor, core.width * factor))
    for band, due in _bands(sampling, canvas, core):
        area = Window(band.row, core.col, TILE + size, core.width).zoom_in(factor)
        for window, image in _rendered(model, latents, canvas, due, decode_batch(model, sampling)):
            piece = window.zoom_in(factor).intersect(core.zoom_in(factor))
            assert piece is not None  # the window meets the core
            rows, cols = piece.within(area)
            inner = piece.within(window.zoom_in(factor))
            total[:3, rows, cols] += (weights * image)[:, *inner]
            total[3, rows, cols] += weights[inner]
        for tile in core.tiles(TILE):
            if tile.row == band.row:
                rows, cols = tile.zoom_in(factor).within(area)
                levels = (total[:3, rows, cols] / total[3, rows, cols]).round().clamp(0, 255)
                yield tile.zoom_in(factor), levels.to(torch.uint8).numpy()
        below = total[:, band.height * factor :].clone()
        total.zero_()
        total[:, : below.shape[1]] = below


def _bands(
    sampling: Sampling, canvas: Window, core: Window
) -> Iterator[tuple[Window, list[Window]]]:
    """Every row of tiles by its first one, with the windows that begin in it or before."""
    windows = [
        window
        for window in cover(canvas, sampling.size, sampling.between, sampling.anchor(canvas))
        if window.intersect(core)
    ]
    for band in core.tiles(TILE):
        if band.col == core.col:
            due = [window for window in windows if window.row < band.bottom]
            windows = windows[len(due) :]
            yield band, due


def is_blended(model: Model, sampling: Sampling) -> bool:
    """Whether windows are decoded and blended, not tiles exactly."""
    return sampling.decode_stride is not None or model.codec.halo is None


def count_blended(model: Model, sampling: Sampling, canvas: Window, core: Window) -> int:
    """Windows that ``decode`` decodes for a core, and those that fill up a band's last batch."""
    batch = decode_batch(model, sampling)
    return sum(-(-len(due) // batch) * batch for _, due in _bands(sampling, canvas, core))


def decode_batch(model: Model, sampling: Sampling) -> int:
    """Windows that are decoded in one call: as many as in painting, fewer for large features."""
    if model.codec.halo is not None:
        return sampling.batch
    return max(1, min(sampling.batch, AT_ONCE // (sampling.size * model.codec.factor) ** 2))


def _rendered(
    model: Model, latents: Tensor, canvas: Window, windows: Sequence[Window], batch: int
) -> Iterator[tuple[Window, Tensor]]:
    """Every window with its image (3, row, col), decoded by itself in batches of one size."""
    for first in range(0, len(windows), batch):
        group = windows[first : first + batch]
        padded = [*group, *[group[-1]] * (batch - len(group))]
        slices = [window.within(canvas) for window in padded]
        crops = torch.stack([latents[0, :, rows, cols] for rows, cols in slices])
        images = model.codec.render(crops.to(model.device)).cpu()
        yield from zip(group, images[: len(group)], strict=True)
