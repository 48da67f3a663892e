"""Does a model copy its training patches? The nearest one of all, in all eight orientations."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.jobs.datasets.dataset import PatchSet, orient
from geodiff.jobs.training.latents import embed_cells
from geodiff.models.bundle import Model
from geodiff.steps import Step

Image = NDArray[np.uint8]
Vectors = NDArray[np.float32]

TOGETHER = 16
"""Patches that are embedded at once."""

BLOCK = 16384
"""Training cells that are compared at once: with 1,024 others a table of 64 MiB."""


@dataclass(frozen=True, eq=False)
class Training:
    """Embeddings of every training patch of one data set: float32 (patch, row, col, feature)."""

    patches: PatchSet
    rows: NDArray[np.intp]  # of the patches in their set
    cells: Vectors


@dataclass(frozen=True)
class Nearest:
    """One synthetic patch and the training patch that lies nearest to it."""

    patch: int  # which of the synthetic ones
    training: int  # which data set
    row: int  # of that set
    turn: int  # how the synthetic patch was turned to lie nearest, see dataset.orient
    similarity: float


@dataclass(frozen=True)
class Memorisation:
    """Cosines to the nearest of all training patches; those of real held-out ones beside them.

    Cells are looked up one by one, patches by the mean cosine of the cells that lie at the same
    place. Patches are turned into all eight orientations, the largest figure counts. A copy that is
    shifted against the cells is not found.
    """

    training: int  # training patches looked at, of all data sets
    compared: int  # of them those with as many cells as the patches, which can be copied whole
    cell: float  # median over synthetic cells
    cell_real: float  # the same of real held-out cells
    patch: float | None  # median over synthetic patches
    patch_real: float | None
    patch_top: float | None  # largest of all synthetic patches
    patch_top_real: float | None
    nearer: float | None  # share of patches nearer to training than the real one they go by
    closest: tuple[Nearest, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        facts = asdict(self)
        facts.pop("closest")
        return facts


def embed_training(sets: Sequence[PatchSet], model: Model) -> Generator[Step, None, list[Training]]:
    """Embed every patch of the split train; the generator's value has one entry a set."""
    rows = [patches.split("train") for patches in sets]
    total, done = sum(map(len, rows)), 0
    found = []
    for patches, chosen in zip(sets, rows, strict=True):
        parts = []
        for first in range(0, len(chosen), TOGETHER):
            stack = np.stack([patches.pixels[row] for row in chosen[first : first + TOGETHER]])
            parts.append(embedded(stack.transpose(0, 3, 1, 2), model))
            done += len(stack)
            yield Step("embed training patches", done, total)
        if parts:
            found.append(Training(patches, chosen, np.concatenate(parts)))
    return found


def memorisation(
    real: Image, made: Image, training: Sequence[Training], model: Model, shown: int = 4
) -> Generator[Step, None, Memorisation]:
    """Look up patches (n, 3, row, col) and the real ones they go by; keeps the ``shown`` closest.

    Raises ValueError without training patches.
    """
    cells, whole, places = [], [], []
    for number, images in enumerate((made, real)):
        best_cells: list[Vectors] = []
        best: list[Vectors] = []
        where: list[NDArray[np.intp]] = []
        for turn in range(8):
            turned = np.stack([orient(np.moveaxis(image, 0, -1), turn) for image in images])
            vectors = embedded(turned.transpose(0, 3, 1, 2), model)
            best_cells.append(nearest_cells(vectors, training))
            near, place = nearest_patches(vectors, training)
            best.append(near)
            where.append(place)
            yield Step("look up nearest training patches", 8 * number + turn + 1, 16)
        cells.append(np.max(best_cells, axis=0))
        whole.append(np.array(best))
        places.append(np.array(where))
    compared = sum(len(t.rows) for t in training if fits(t, made, model.cell))
    tops = [np.max(figures, axis=0) for figures in whole]
    return Memorisation(
        training=sum(len(t.rows) for t in training),
        compared=compared,
        cell=float(np.median(cells[0])),
        cell_real=float(np.median(cells[1])),
        patch=float(np.median(tops[0])) if compared else None,
        patch_real=float(np.median(tops[1])) if compared else None,
        patch_top=float(tops[0].max()) if compared else None,
        patch_top_real=float(tops[1].max()) if compared else None,
        nearer=float((tops[0] > tops[1]).mean()) if compared else None,
        closest=closest(whole[0], places[0], training, shown) if compared else (),
    )


def embedded(images: Image, model: Model) -> Vectors:
    """Cells of images (n, 3, row, col), in the precision that the model paints in: many are due."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.denoiser.bf16):
        return embed_cells(pixels, model.encoder)


def fits(training: Training, images: Image, cell: int) -> bool:
    """Whether patches have as many cells as ``images``, in both directions of square ones."""
    return training.cells.shape[1:3] == tuple(side // cell for side in images.shape[-2:])


def nearest_cells(vectors: Vectors, training: Sequence[Training]) -> Vectors:
    """The largest cosine of each cell of (n, row, col, feature) to any training cell."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    best = np.full(len(flat), -1, np.float32)
    for known in training:
        other = known.cells.reshape(-1, vectors.shape[-1])
        for start in range(0, len(other), BLOCK):
            block = other[start : start + BLOCK].T
            for first in range(0, len(flat), 1024):
                part = slice(first, first + 1024)
                best[part] = np.maximum(best[part], (flat[part] @ block).max(1))
    return best


def nearest_patches(
    vectors: Vectors, training: Sequence[Training]
) -> tuple[Vectors, NDArray[np.intp]]:
    """The largest mean cosine of each patch to a training patch, and which: (set, entry)."""
    flat = vectors.reshape(len(vectors), -1)
    best = np.full(len(flat), -1, np.float32)
    where = np.zeros((len(flat), 2), np.intp)
    for number, known in enumerate(training):
        if known.cells.shape[1:3] != vectors.shape[1:3]:
            continue
        cosines = flat @ known.cells.reshape(len(known.cells), -1).T / np.prod(vectors.shape[1:3])
        entry = cosines.argmax(1)
        value = cosines[np.arange(len(flat)), entry]
        better = value > best
        best[better] = value[better]
        where[better] = np.stack([np.full(better.sum(), number), entry[better]], axis=-1)
    return best, where


def closest(
    figures: Vectors, places: NDArray[np.intp], training: Sequence[Training], count: int
) -> tuple[Nearest, ...]:
    """The patches with the largest figures (turn, patch), whatever their turn."""
    turns = figures.argmax(0)
    chosen = np.argsort(-figures.max(0), kind="stable")[:count]
    return tuple(
        Nearest(
            patch=int(k),
            training=int(places[turns[k], k, 0]),
            row=int(training[places[turns[k], k, 0]].rows[places[turns[k], k, 1]]),
            turn=int(turns[k]),
            similarity=float(figures[turns[k], k]),
        )
        for k in chosen
    )
