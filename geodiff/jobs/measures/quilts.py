"""Large held-out fields to paint under, and the real pixels they come from.

Two kinds, because neither is perfect:

- Quilts: patches of the split val of a prepared dataset laid side by side, each with its own cells.
  Every cell is of a place the model never saw, and the real pixels of every cell are known. But
  unrelated patches meet at joints, which no real scene has. So crops are compared on the patches
  (aligned), where the real distribution is exact, never across a joint; and lines near joints are
  left out of seam figures, real and synthetic.
- One true scene from a raster, which has no joints, but is a single place (and often outside the
  training distribution, which may be the point).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, raster_grid
from geodiff.geo.raster import Reference
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.embed import embed_steps
from geodiff.jobs.mosaic.decoding import count_tiles, decode
from geodiff.jobs.mosaic.sampling import Sampling, conditions, denoise
from geodiff.jobs.training.latents import embed_cells
from geodiff.models.bundle import Model
from geodiff.steps import Step, drain
from geodiff.window import Window

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scene:
    """A square field, its real pixels (3, side, side) and where unrelated patches meet in it."""

    name: str
    grid: PixelGrid
    embeddings: EmbeddingGrid
    real: Image
    gsd: float
    block: int  # pixels a side of the patches; of a true scene those of a window

    @property
    def joints(self) -> NDArray[np.int64]:
        """Lattice rows, and columns, of the joints between patches."""
        side = self.real.shape[-1] if self.name.startswith("quilt") else 0
        return np.arange(self.block, side, self.block, dtype=np.int64)


def quilts(model: Model, patches: PatchSet, megapixels: float, side: int, seed: int) -> list[Scene]:
    """Quilts of about ``side`` pixels a side from val patches, one place a quilt at most once.

    Raises DataError where the split val is empty.
    """
    chip = patches.pixels.shape[1]
    across = max(1, round(side / chip))
    count = max(1, round(megapixels * 1e6 / (across * chip) ** 2))
    rows = by_place(patches, "val", count * across**2, seed)
    scenes = []
    for k in range(count):
        chosen = [patches.pixels[row] for row in rows[k * across**2 : (k + 1) * across**2]]
        chips = np.stack(chosen).transpose(0, 3, 1, 2).reshape(across, across, 3, chip, chip)
        real = np.ascontiguousarray(chips.transpose(2, 0, 3, 1, 4)).reshape(3, across * chip, -1)
        grid = PixelGrid(GeoBox(real.shape[1:], Affine.identity(), None), 0, 0)
        name = f"quilt {k + 1} of {across} x {across} chips"
        scenes.append(Scene(name, grid, embedded(model, grid, real), real, patches.gsd, chip))
    return scenes


def by_place(patches: PatchSet, split: str, count: int, seed: int) -> list[int]:
    """Rows of ``count`` patches of a split, every place once before any comes again."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(patches.split(split))
    if not len(rows):
        raise DataError(f"{patches.path} has no patch in the split {split!r}")
    places = patches.table["place"].to_numpy()[rows]
    seen: dict[str, int] = {}
    turn = []
    for place in places:
        seen[place] = seen.get(place, 0) + 1
        turn.append(seen[place])
    ordered = rows[np.argsort(turn, kind="stable")]
    return [int(row) for row in np.resize(ordered, count)]


def embedded(model: Model, grid: PixelGrid, pixels: Image) -> EmbeddingGrid:
    """The embedding grid of pixels (3, row, col) that fill ``grid``."""
    cells = grid.cell_grid(model.cell)
    values = embed_cells(torch.from_numpy(pixels)[None], model.encoder)[0]
    valid = np.ones(cells.window.shape, np.bool_)
    gsd = grid.gsd or model.gsd
    return EmbeddingGrid(values, valid, cells, model.cell, gsd, model.encoder.fingerprint)


def true_scene(model: Model, path: str, megapixels: float) -> Scene:
    """The middle of a raster on its own grid, at most ``megapixels``, whole windows a side.

    Raises DataError for a raster that cannot be read, is smaller than a window or has holes there.
    """
    window = model.window * model.codec.factor
    grid = raster_grid(path)
    height, width = grid.window.shape
    side = min(math.isqrt(round(megapixels * 1e6)), height, width) // window * window
    if not side:
        raise DataError(
            f"{path} is {width} x {height} px (of which {megapixels:g} megapixels may be taken), "
            f"smaller than a window of {window} px: choose a larger raster"
        )
    row, col = ((length - side) // 2 // window * window for length in (height, width))
    part = Window(row, col, side, side)
    reference = Reference.open(path)
    real, valid = reference.read(grid, part)
    if not valid.all():
        raise DataError(f"the middle of {path} has pixels without data: crop it first")
    own = PixelGrid(GeoBox((side, side), Affine.identity(), None), 0, 0)
    gsd = grid.gsd or model.gsd
    embeddings = drain(embed_steps(model, reference, grid.crop(part)))
    moved = own.cell_grid(model.cell)
    fields = EmbeddingGrid(
        embeddings.filled().values, np.ones(moved.window.shape, np.bool_), moved, model.cell, gsd,
        embeddings.encoder,
    )  # fmt: skip
    return Scene(f"scene {Path(path).name}", own, fields, real, gsd, window)


def tiles(image: Image, size: int) -> Image:
    """Disjoint tiles (n, 3, size, size) of an image (3, row, col), by rows; the rest is dropped."""
    rows, cols = image.shape[1] // size, image.shape[2] // size
    cut = image[:, : rows * size, : cols * size].reshape(3, rows, size, cols, size)
    return np.ascontiguousarray(cut.transpose(1, 3, 0, 2, 4)).reshape(-1, 3, size, size)


def solve(
    model: Model, sampling: Sampling, scene: Scene, canvas: Window, seed: int
) -> Generator[Step, None, torch.Tensor]:
    """Denoise ``canvas`` under the scene's embeddings; the generator's value is the last state."""
    known = conditions(model, sampling, scene.embeddings, scene.grid, canvas)
    state = torch.empty(0)
    states = denoise(model, sampling, known, canvas, scene.gsd, seed)
    for done, made in enumerate(states, start=1):
        state = made
        yield Step(f"paint {scene.name}", done, sampling.steps)
    return state


def mosaic(
    model: Model, sampling: Sampling, scene: Scene, seed: int
) -> Generator[Step, None, Image]:
    """The scene as one mosaic; the generator's value is uint8 (3, side, side)."""
    factor = model.codec.factor
    core, canvas = scene.grid.latents(factor), sampling.canvas(scene.grid, factor)
    state = yield from solve(model, sampling, scene, canvas, seed)
    made = np.zeros_like(scene.real)
    parts = decode(model, sampling, state, canvas, core)
    for done, (window, pixels) in enumerate(parts, start=1):
        inside = window.intersect(scene.grid.window)
        assert inside is not None  # tiles are those of the latents that cover the scene
        (rows, cols), (from_rows, from_cols) = (
            inside.within(scene.grid.window),
            inside.within(window),
        )
        made[:, rows, cols] = pixels[:, from_rows, from_cols]
        yield Step(f"decode {scene.name}", done, count_tiles(core))
    return made


def alone(
    model: Model, sampling: Sampling, scene: Scene, seed: int
) -> Generator[Step, None, Image]:
    """Windows of the scene side by side, each denoised and decoded alone, under the same field.

    The generator's value is uint8 (n, 3, window, window), by rows. What a mosaic loses (or gains)
    against them is the price of tiling.
    """
    factor, size = model.codec.factor, sampling.size
    core = scene.grid.latents(factor)
    single = replace(
        sampling, stride=size, middle_stride=None, shifted=False, anchored=False, pad=0
    )
    whole = Window(0, 0, core.height // size * size, core.width // size * size)
    state = (yield from solve(model, single, scene, whole, seed))[0]
    parts = state.unfold(1, size, size).unfold(2, size, size).permute(1, 2, 0, 3, 4)
    stack = parts.reshape(-1, len(state), size, size).to(model.device)
    found = [model.codec.decode(part).cpu().numpy() for part in torch.split(stack, 4)]
    return np.concatenate(found)
