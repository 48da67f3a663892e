"""Batches of windows of cells with what is said about them, for training a prior."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.diffusion import sample_times
from geodiff.errors import DataError
from geodiff.jobs.training.cells import CellSet
from geodiff.jobs.training.config import PriorConfig
from geodiff.jobs.training.ranks import Ranks
from geodiff.models.whitening import Whitening

ALONE = Ranks()


@dataclass(frozen=True)
class CellBatch:
    """Tensors of one step, see CellTransformer.forward; clean and noise (b, dim, w, w)."""

    clean: torch.Tensor
    noise: torch.Tensor
    time: torch.Tensor
    gsd: torch.Tensor
    text: torch.Tensor
    told: torch.Tensor
    label: torch.Tensor
    group: torch.Tensor
    turn: torch.Tensor

    def to(self, device: torch.device) -> CellBatch:
        """The same batch on ``device``."""
        return CellBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


def draw_windows(
    sets: list[CellSet],
    vectors: NDArray[np.float16],
    whitening: Whitening,
    config: PriorConfig,
    seed: tuple[int, int],
    split: str,
    ranks: Ranks = ALONE,
) -> CellBatch:
    """Random windows of neighbouring cells, of which a rank gets its share.

    Patches smaller than a window fill one with several of them, each a group of its own. Texts and
    labels are left out now and then (``null``, ``null_label``), a text also in a part of a window.
    ``vectors`` (n, text_dim) are the embedded texts. A pure function of ``seed``.
    """
    rng = np.random.default_rng(seed)
    w, size = config.window, config.batch
    rows = [s.rows(split) for s in sets]
    weight = np.array(config.weights or np.sqrt([len(r) for r in rows]))
    weight = weight * np.array([len(r) > 0 for r in rows])
    if not weight.any():
        weight = np.array([float(len(r) > 0) for r in rows])
    chosen = np.sort(rng.choice(len(sets), size=size, p=weight / weight.sum()))
    parts = [
        take(sets[number], rows[number], int((chosen == number).sum()), w, rng)
        for number in np.unique(chosen)
    ]
    cells, texts, labels, group, turns, gsd = (
        np.concatenate(values) for values in zip(*parts, strict=True)
    )
    told = (texts >= 0) & (rng.random((size, 1, 1)) >= config.null)
    patchy = rng.random((size, 1, 1)) < config.patchy
    told &= ~patchy | (rng.random((size, w, w)) < 0.5)
    labels = np.where(rng.random((size, 1, 1)) < config.null_label, 0, labels)
    share = ranks.share(size)
    random = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = torch.randn((size, sets[0].cells.shape[-1], w, w), generator=random)
    times = sample_times(random, size)
    white = whitening.there(cells[share].astype(np.float32))
    return CellBatch(
        clean=torch.from_numpy(white).permute(0, 3, 1, 2),
        noise=noise[share],
        time=times[share],
        gsd=torch.from_numpy(gsd[share]),
        text=torch.from_numpy(vectors[texts[share]].astype(np.float32)),
        told=torch.from_numpy(told[share]),
        label=torch.from_numpy(labels[share]),
        group=torch.from_numpy(group[share]),
        turn=torch.from_numpy(turns[share]),
    )


def take(
    source: CellSet, rows: NDArray[np.intp], count: int, window: int, rng: np.random.Generator
) -> tuple[NDArray[Any], ...]:
    """Windows of one set: cells (count, w, w, feature), texts, labels and groups (count, w, w),
    then turns and gsd (count,)."""
    piece = min(source.side, window)
    n = window // piece
    patch = rng.choice(rows, size=(count, n, n))
    which, turns = turned_alike(source, patch, rng)
    corner = rng.integers(source.side - piece + 1, size=(2, *patch.shape))
    words = rng.integers(max(1, source.texts.shape[1]), size=patch.shape)
    steps = np.arange(piece)
    cells = source.cells[
        patch[..., None, None],
        which[..., None, None],
        (corner[0][..., None] + steps)[..., :, None],
        (corner[1][..., None] + steps)[..., None, :],
    ]  # (count, n, n, piece, piece, feature)
    whole = cells.swapaxes(2, 3).reshape(count, window, window, -1)
    numbers = np.broadcast_to(np.arange(n * n).reshape(n, n), patch.shape)
    told = (source.texts[patch, words], source.labels[patch], numbers)
    spread = (values.repeat(piece, 1).repeat(piece, 2) for values in told)
    return whole, *spread, turns, np.full(count, source.gsd, np.float32)


def turned_alike(
    source: CellSet, patch: NDArray[np.intp], rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A random turn (count,) for the patches (count, n, n) of each window, and where they have it.

    Upright, which every patch has, where one of them lacks the turn.
    """
    first = source.turns[patch[:, 0, 0]]  # (count, orientation)
    chosen = rng.integers(first.shape[1], size=len(first))
    turns = first[np.arange(len(first)), chosen]
    everywhere = (source.turns[patch] == turns[:, None, None, None]).any(-1).all((1, 2))
    turns = np.where(everywhere, turns, 0)
    return (source.turns[patch] == turns[:, None, None, None]).argmax(-1), turns


def check_sides(sets: list[CellSet], window: int, names: tuple[str, ...]) -> None:
    """Raises DataError for patches that neither hold windows nor fill them evenly."""
    for cells, name in zip(sets, names, strict=True):
        if cells.side < window and window % cells.side:
            raise DataError(
                f"{name} has patches of {cells.side} x {cells.side} cells, which do not fill "
                f"windows of {window}: give a window that is a multiple of {cells.side}"
            )
