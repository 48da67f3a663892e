"""Embedded cells of training patches in several orientations, for training a prior."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.errors import DataError
from geodiff.jobs.datasets.dataset import PatchSet, orient
from geodiff.jobs.training.checkpoint import encoding
from geodiff.jobs.training.latents import ENCODED_AT_ONCE, cache_file, embed_cells, files, room
from geodiff.models.encoder import Encoder
from geodiff.steps import Step


@dataclass(frozen=True, eq=False)
class CellSet:
    """Embedded patches of one ground sample distance, and what is said about them.

    ``cells`` is float16 (patch, orientation, row, col, feature) of unit vectors, ``turns`` (patch,
    orientation) how the pixels were turned; ``train`` and ``val`` are row numbers; ``texts``
    (patch, wording) numbers of texts, -1 for none; ``labels`` (patch,) numbers of labels from 1, 0
    for none.
    """

    cells: NDArray[np.float16]
    turns: NDArray[np.intp]
    train: NDArray[np.intp]
    val: NDArray[np.intp]
    gsd: float
    texts: NDArray[np.intp]
    labels: NDArray[np.intp]

    @property
    def side(self) -> int:
        """Cells along one side of a patch."""
        return int(self.cells.shape[2])

    def rows(self, split: str) -> NDArray[np.intp]:
        """Row numbers of the split train or val."""
        return self.train if split == "train" else self.val


def turns_of(count: int, orientations: int) -> NDArray[np.intp]:
    """How patches are turned, (patch, orientation): upright, then others that depend on the row."""
    rows, turns = np.arange(count)[:, None], np.arange(1, orientations)
    others = 1 + (rows * 3 + turns * 5) % 7
    return np.concatenate([np.zeros((count, 1), np.intp), others], axis=1)


def own_file(patches: PatchSet, orientations: int, cache: Path, fingerprint: str) -> Path:
    """Where the cells of a patch set lie in a run's cache."""
    return files(cache_file(patches, orientations, cache, fingerprint))[1]


def encode_cells(
    patches: PatchSet, encoder: Encoder, orientations: int, cache: Path
) -> Iterator[Step]:
    """Embed a patch set into ``cache``; yields progress, does nothing where it is there already.

    Embeddings are computed on the turned pixels: the encoder sees directions. Raises DataError
    unless patches are square and of whole cells.
    """
    target = own_file(patches, orientations, cache, encoder.fingerprint)
    if target.exists():
        return
    count, height, width = patches.pixels.shape[:3]
    if height != width or height % encoder.cell:
        raise DataError(
            f"{patches.path} has patches of {height} x {width} px: they must be square, a multiple "
            f"of the encoder's cell of {encoder.cell} px"
        )
    side, turns = height // encoder.cell, turns_of(count, orientations)
    unfinished = target.with_suffix(".tmp.npy")
    with encoding(cache, [unfinished]):
        cache.mkdir(parents=True, exist_ok=True)
        cells = room(unfinished, (count, orientations, side, side, encoder.dim))
        device = next(encoder.net.parameters()).device
        together = ENCODED_AT_ONCE.get(device.type, 64)
        for first in range(0, count, together):
            rows = range(first, min(first + together, count))
            turned = [
                orient(np.array(patches.pixels[row]), int(turn))
                for row in rows
                for turn in turns[row]
            ]
            pixels = torch.from_numpy(np.stack(turned)).permute(0, 3, 1, 2)
            with torch.autocast(device.type, torch.bfloat16):
                found = embed_cells(pixels, encoder)
            cells[first : rows.stop] = found.reshape(len(rows), *cells.shape[1:])
            yield Step(f"embed {patches.path.name}", rows.stop, count)
        cells.flush()
        unfinished.replace(target)


def open_cells(
    patches: PatchSet, orientations: int, cache: Path, fingerprint: str, others: str = ""
) -> tuple[NDArray[np.float16], NDArray[np.intp]]:
    """Cells (patch, orientation, row, col, feature) and turns (patch, orientation).

    Those of ``cache`` and, where the folder ``others`` is the cache of a denoiser's run with the
    same encoder and patches, those it was trained on as well.
    """
    cells = np.load(own_file(patches, orientations, cache, fingerprint), mmap_mode="r")
    turns = turns_of(len(cells), orientations)
    for count in range(8, 0, -1) if others else ():
        target = cache_file(patches, count, Path(others), f"{fingerprint}-*")
        for path in target.parent.glob(f"{target.stem}.*"):
            if path.name.endswith(".latents.npy"):
                continue
            more = np.load(path)["cells"] if path.suffix == ".npz" else np.load(path)
            rows, numbers = np.arange(len(more))[:, None], np.arange(count)
            turned = (rows * 3 + numbers * 5) % 8  # as encode_set turns them
            return np.concatenate([cells, more], 1), np.concatenate([turns, turned], 1)
    return cells, turns
