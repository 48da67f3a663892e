"""Encoded training patches: latents and cell embeddings in several orientations, cached on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from geodiff.errors import DataError
from geodiff.geo.slerp import slerp
from geodiff.jobs.datasets.dataset import PatchSet, orient, reserve
from geodiff.jobs.training.checkpoint import encoding
from geodiff.jobs.training.ranks import Ranks
from geodiff.models.codec import Codec
from geodiff.models.encoder import Encoder
from geodiff.steps import Step

ENCODED_AT_ONCE = {"cpu": 8}
"""Patches that go through codec and encoder together; 64 on other devices."""


@dataclass(frozen=True)
class LatentSet:
    """Encoded patches of one ground sample distance.

    ``latents`` is float16 (patch, orientation, channel, row, col), ``cells`` float16 (patch,
    orientation, cell row, cell col, feature) of unit vectors, ``train`` and ``val`` row numbers.
    """

    latents: NDArray[np.float16]
    cells: NDArray[np.float16]
    train: NDArray[np.intp]
    val: NDArray[np.intp]
    gsd: float

    @property
    def latents_per_cell(self) -> int:
        """Latents along one side of a cell."""
        return int(self.latents.shape[-1] // self.cells.shape[-2])


def encode_set(
    patches: PatchSet, codec: Codec, encoder: Encoder, orientations: int, cache: Path, key: str
) -> Iterator[Step]:
    """Encode a patch set into ``cache``; yields progress, does nothing if it is there already.

    Embeddings are computed on the turned pixels, so they are never stale. Which of the eight
    orientations a patch gets depends on its row number. ``key`` names codec and encoder. Raises
    DataError unless patches are square, of whole cells and whole latents.
    """
    target = cache_file(patches, orientations, cache, key)
    if target.exists() or files(target)[1].exists():
        return
    count, height, width = patches.pixels.shape[:3]
    f, cell = codec.factor, encoder.cell
    if height != width or height % cell or cell % f:
        raise DataError(
            f"{patches.path} has patches of {height} x {width} px: they must be square, a multiple "
            f"of the encoder's cell of {cell} px, and that one of the codec's factor {f}"
        )
    names = [path.with_suffix(".tmp.npy") for path in files(target)]
    with encoding(cache, names):
        cache.mkdir(parents=True, exist_ok=True)
        shapes = (
            (count, orientations, codec.channels, height // f, width // f),
            (count, orientations, height // cell, width // cell, encoder.dim),
        )
        latents, cells = (room(name, shape) for name, shape in zip(names, shapes, strict=True))
        device = next(encoder.net.parameters()).device
        together = ENCODED_AT_ONCE.get(device.type, 64)
        for first in range(0, count, together):
            rows = range(first, min(first + together, count))
            turned = [
                orient(np.array(patches.pixels[row]), (row * 3 + k * 5) % 8)
                for row in rows
                for k in range(orientations)
            ]
            pixels = torch.from_numpy(np.stack(turned)).permute(0, 3, 1, 2)
            with torch.autocast(device.type, torch.bfloat16):
                z = codec.encode(pixels.contiguous(memory_format=torch.channels_last)).cpu().numpy()
                e = embed_cells(pixels, encoder)
            latents[first : rows.stop] = z.reshape(len(rows), orientations, *z.shape[1:])
            cells[first : rows.stop] = e.reshape(len(rows), orientations, *e.shape[1:])
            yield Step(f"encode {patches.path.name}", rows.stop, count)
        for values, name, path in zip((latents, cells), names, files(target), strict=True):
            values.flush()
            name.replace(path)  # the cells last: where they are, both are


def encode_sets(
    sets: Sequence[PatchSet],
    codec: Codec,
    encoder: Encoder,
    orientations: tuple[int, ...],
    cache: Path,
    ranks: Ranks,
) -> Generator[Step, None, list[LatentSet]]:
    """Encode patch sets into ``cache`` by the first rank and open them; yields its progress.

    ``orientations`` is one number, or one a set. Raises as :func:`encode_set`.
    """
    key = f"{encoder.fingerprint}-{codec.fingerprint}"
    turns = orientations * (len(sets) if len(orientations) == 1 else 1)
    if ranks.lead:
        for patches, count in zip(sets, turns, strict=True):
            yield from encode_set(patches, codec, encoder, count, cache, key)
    ranks.wait()
    return [open_set(p, count, cache, key) for p, count in zip(sets, turns, strict=True)]


def room(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float16]]:
    """A new file of half precision numbers, with its disk space claimed; OSError without room."""
    values = open_memmap(path, "w+", np.float16, shape)
    reserve(path)
    return values


def files(target: Path) -> tuple[Path, Path]:
    """Latents and cells as they are kept today; ``target`` is the one file of earlier versions."""
    return target.with_suffix(".latents.npy"), target.with_suffix(".cells.npy")


def cache_file(patches: PatchSet, orientations: int, cache: Path, key: str) -> Path:
    """Where the encoded patches lie: another name for other pixels, networks or orientations."""
    digest = hashlib.blake2b(digest_size=6)
    for patch in patches.pixels:
        digest.update(patch.tobytes())
    return cache / f"{patches.path.name}-{digest.hexdigest()}-{key}-{orientations}.npz"


def open_set(patches: PatchSet, orientations: int, cache: Path, key: str) -> LatentSet:
    """Read what :func:`encode_set` wrote, memory-mapped."""
    target = cache_file(patches, orientations, cache, key)
    if target.exists():
        stored = np.load(target)
        latents, cells = stored["latents"], stored["cells"]
    else:
        latents, cells = (np.load(path, mmap_mode="r") for path in files(target))
    return LatentSet(latents, cells, patches.split("train"), patches.split("val"), patches.gsd)


def embed_cells(pixels: torch.Tensor, encoder: Encoder) -> NDArray[np.float32]:
    """uint8 (batch, 3, height, width) -> (batch, height/cell, width/cell, dim) unit vectors."""
    n, _, height, width = pixels.shape
    c = encoder.cell
    rows, cols = height // c, width // c
    parts = pixels.unfold(2, c, c).unfold(3, c, c).permute(0, 2, 3, 1, 4, 5)
    vectors = encoder.embed(parts.reshape(-1, 3, c, c))
    result: NDArray[np.float32] = vectors.reshape(n, rows, cols, encoder.dim).numpy()
    return result


def crop_fields(
    cells: NDArray[np.float32], rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The dense field of many crops at once, as ``EmbeddingGrid.field`` gives it for one grid.

    ``cells`` is (batch, cell row, cell col, feature), ``rows`` (batch, n) and ``cols`` (batch, m)
    are positions in cells (0.5 is a centre). Returns (batch, n, m, feature).
    """
    batch = np.arange(len(cells))[:, None]
    top, down = before(rows, cells.shape[1])
    left, right = before(cols, cells.shape[2])
    lines = slerp(
        cells[batch, :, left],
        cells[batch, :, np.minimum(left + 1, cells.shape[2] - 1)],
        right[:, :, None],
    ).swapaxes(1, 2)  # (batch, cell row, m, feature)
    below = np.minimum(top + 1, cells.shape[1] - 1)
    field = slerp(lines[batch, top], lines[batch, below], down[:, :, None])
    return field.astype(np.float32)


def before(
    positions: NDArray[np.float64], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The cell whose centre comes before each position, and how far it is to the next (0..1)."""
    inside = np.clip(positions - 0.5, 0, count - 1)
    first = np.minimum(np.floor(inside).astype(np.intp), max(count - 2, 0))
    return first, inside - first
