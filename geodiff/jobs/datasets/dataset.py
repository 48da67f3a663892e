"""A prepared training set on disk: pixels, and one row of facts about each patch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from geodiff.errors import DataError
from geodiff.geo.writing import write_failure

EVERYTHING = slice(None)


@dataclass(frozen=True)
class PatchSet:
    """Patches of one ground sample distance.

    ``pixels`` is uint8 (patch, height, width, band), memory-mapped; ``table`` is a GeoDataFrame in
    EPSG:4326 with one row a patch: name, source, place, split (train or val), label and label_id
    (None without a table), gsd (metres per pixel), datetime (of a STAC item), crs, row and col (of
    its top-left pixel on the lattice of that CRS) and the footprint (None without a CRS).
    """

    pixels: NDArray[np.uint8]
    table: gpd.GeoDataFrame
    path: Path

    @classmethod
    def open(cls, folder: str | Path) -> PatchSet:
        """Open what `geodiff prepare` wrote. Raises DataError where files are missing or misfit."""
        folder = Path(folder)
        try:
            pixels = np.load(folder / "pixels.npy", mmap_mode="r")
            table = gpd.read_parquet(folder / "patches.parquet")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{folder} is not a prepared dataset ({error}); make one with `geodiff prepare`"
            ) from error
        if len(pixels) != len(table):
            raise DataError(
                f"{folder} holds {len(pixels)} patches but {len(table)} rows; prepare it again"
            )
        return cls(pixels, table, folder)

    def split(self, name: str) -> NDArray[np.intp]:
        """Row numbers of the patches of split ``name`` (train or val)."""
        return np.flatnonzero((self.table["split"] == name).to_numpy())

    @property
    def gsd(self) -> float:
        """Metres per pixel of the patches (their median)."""
        return float(self.table["gsd"].median())


def write_set(out: Path, pixels: Iterable[NDArray[np.uint8]], table: gpd.GeoDataFrame) -> None:
    """Write what :meth:`PatchSet.open` reads; a folder that was not finished does not open.

    ``pixels`` gives one patch a row of ``table`` and is read one by one. Raises OutputError where
    the folder cannot be written.
    """
    patches = iter(pixels)
    first = next(patches)
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished = out / "pixels.tmp.npy"
        stored = open_memmap(unfinished, "w+", np.uint8, (len(table), *first.shape))
        reserve(unfinished)
        for i, patch in enumerate(chain([first], patches)):
            stored[i] = patch
        stored.flush()
        table.to_parquet(out / "patches.tmp.parquet")
        (out / "patches.parquet").unlink(missing_ok=True)
        os.replace(out / "pixels.tmp.npy", out / "pixels.npy")
        os.replace(out / "patches.tmp.parquet", out / "patches.parquet")
    except OSError as error:
        raise write_failure(out, error) from error
    finally:
        for name in ("pixels.tmp.npy", "patches.tmp.parquet"):
            with suppress(OSError):  # a file where the folder should be
                (out / name).unlink(missing_ok=True)


def reserve(path: Path) -> None:
    """Claim a file's whole size on the disk: in a memory map a full disk would kill the process.

    Raises OSError where there is no room; does nothing where the system cannot.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def orient(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """One of the 8 flips and quarter turns (``turn`` 0..7) of (..., height, width, band)."""
    if turn >= 4:
        image = np.flip(image, axis=-2)
    return np.rot90(image, turn % 4, axes=(-3, -2))


@dataclass(frozen=True)
class CropSampler:
    """Random crops over several patch sets; batch ``step`` is a pure function of (seed, step).

    Sets are drawn in proportion to ``weights``, or, where that is empty, to the root of their size,
    so that small sources are seen.
    """

    sets: tuple[PatchSet, ...]
    crop: int
    seed: int
    weights: tuple[float, ...] = ()
    split: str = "train"

    def batch(
        self, step: int, size: int, share: slice = EVERYTHING
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """uint8 (size, crop, crop, 3) in random orientation and offset, and their gsd in metres.

        Of the batch only ``share`` is read and given.
        """
        rng = np.random.default_rng((self.seed, step))
        rows = [patches.split(self.split) for patches in self.sets]
        weight = np.array(self.weights or np.sqrt([len(r) for r in rows]))
        chosen = rng.choice(len(rows), size=size, p=weight / weight.sum())
        mine = {i: place for place, i in enumerate(range(size)[share])}
        images = np.empty((len(mine), self.crop, self.crop, 3), np.uint8)
        gsd = np.empty(len(mine), np.float32)
        for i, number in enumerate(chosen):
            patches = self.sets[number]
            height, width = patches.pixels.shape[1:3]
            patch = rng.choice(rows[number])
            row = rng.integers(height - self.crop + 1)
            col = rng.integers(width - self.crop + 1)
            turn = int(rng.integers(8))
            if i in mine:
                piece = patches.pixels[patch, row : row + self.crop, col : col + self.crop]
                images[mine[i]] = orient(piece, turn)
                gsd[mine[i]] = patches.gsd
        return images, gsd


def open_sets(folders: tuple[str, ...], smallest: int) -> tuple[PatchSet, ...]:
    """Open prepared datasets; each must have training patches of at least ``smallest`` px."""
    sets = tuple(PatchSet.open(folder) for folder in folders)
    for patches in sets:
        if min(patches.pixels.shape[1:3]) < smallest:
            raise DataError(
                f"{patches.path} has patches of {patches.pixels.shape[1]} px, "
                f"smaller than the crop of {smallest} px"
            )
        if len(patches.split("train")) == 0:
            raise DataError(f"{patches.path} has no patch in the split 'train'")
    return sets
