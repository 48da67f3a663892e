"""A data set or a scene and a model -> synthetic images beside the real ones they go by."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.diffusion import dpmpp_2m
from geodiff.diffusion.noise import plane
from geodiff.errors import DataError
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.measures.quilts import Scene, alone, mosaic, quilts, tiles, true_scene
from geodiff.jobs.mosaic.guiding import guided
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.mosaic.steering import steer_windows
from geodiff.jobs.training.latents import crop_fields, embed_cells
from geodiff.models.bundle import Model
from geodiff.steps import Step
from geodiff.window import Window

Image = NDArray[np.uint8]

TOGETHER = 8
"""Patches that are painted in one batch."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Stacks of images uint8 (n, 3, row, col): real, painted from their embeddings, and coded.

    ``other`` are real images of other places, for floors; None where there are none. ``mosaics``
    are uint8 (3, side, side), one a scene, and ``windows`` (n, 3, window, window) the same scenes
    painted window by window, none of which knows of another.
    """

    name: str
    kind: str  # val: held-out patches of a data set; scene: a raster
    gsd: float
    real: Image
    made: Image
    decoded: Image
    other: Image | None
    scenes: tuple[Scene, ...] = ()
    mosaics: tuple[Image, ...] = ()
    windows: tuple[Image, ...] = ()


def patch_trial(
    model: Model,
    patches: PatchSet,
    sampling: Sampling,
    limit: int,
    seed: int,
    megapixels: float,
    side: int = 1024,
) -> Generator[Step, None, Trial]:
    """Repaint at most ``limit`` val patches, evenly spread, and quilts of ``megapixels`` of them.

    Raises DataError where the split val is empty.
    """
    rows = chosen_rows(patches, limit)
    name = patches.path.name
    real = stack(patches, rows)
    made, decoded = [], []
    for first in range(0, len(real), TOGETHER):
        pixels = torch.from_numpy(np.ascontiguousarray(real[first : first + TOGETHER]))
        made.append(repaint(model, pixels, sampling, patches.gsd, seed + first))
        decoded.append(coded(model, pixels.numpy()))
        yield Step(f"repaint {name}", first + len(pixels), len(rows))
    train = patches.split("train")
    spread = np.linspace(0, len(train) - 1, min(len(train), len(rows))).astype(int)
    scenes = fitting_quilts(model, patches, megapixels, side, seed) if megapixels else []
    large = yield from paint_scenes(model, sampling, scenes, seed)
    return Trial(
        name=name,
        kind="val",
        gsd=patches.gsd,
        real=real,
        made=np.concatenate(made),
        decoded=np.concatenate(decoded),
        other=stack(patches, train[spread]) if len(train) else None,
        scenes=tuple(scenes),
        mosaics=large[0],
        windows=large[1],
    )


def fitting_quilts(
    model: Model, patches: PatchSet, megapixels: float, side: int, seed: int
) -> list[Scene]:
    """Quilts in which no val patch comes twice: smaller and fewer ones where there are few.

    None where not even two windows come together.
    """
    count, chip = len(patches.split("val")), patches.pixels.shape[1]
    side = min(side, math.isqrt(round(megapixels * 1e6)))
    across = max(1, min(round(side / chip), math.isqrt(count)))
    whole = count // across**2
    windows = whole * (across * chip // (model.window * model.codec.factor)) ** 2
    if windows < 2:
        return []
    most = whole * (across * chip) ** 2 / 1e6
    return quilts(model, patches, min(megapixels, most), across * chip, seed)


def reference_scene(model: Model, path: str, megapixels: float) -> Scene:
    """The middle of a raster. Raises DataError where it has less than 2 x 2 windows."""
    scene = true_scene(model, path, megapixels)
    if scene.real.shape[-1] < 2 * scene.block:
        raise DataError(
            f"the part of {path} that may be taken ({megapixels:g} megapixels) has less than "
            f"2 x 2 windows of {scene.block} px: choose a larger raster, or give more --megapixels"
        )
    return scene


def scene_trial(
    model: Model, scene: Scene, sampling: Sampling, limit: int, seed: int
) -> Generator[Step, None, Trial]:
    """Paint a scene as one mosaic, and window by window: those are its patches.

    At most ``limit`` of them.
    """
    real = tiles(scene.real, scene.block)
    mosaics, windows = yield from paint_scenes(model, sampling, [scene], seed)
    kept = np.linspace(0, len(real) - 1, min(limit, len(real))).astype(int)
    return Trial(
        name=scene.name.removeprefix("scene "),
        kind="scene",
        gsd=scene.gsd,
        real=real[kept],
        made=windows[0][kept],
        decoded=np.concatenate([coded(model, real[k : k + 1]) for k in kept]),
        other=None,
        scenes=(scene,),
        mosaics=mosaics,
        windows=windows,
    )


def paint_scenes(
    model: Model, sampling: Sampling, scenes: list[Scene], seed: int
) -> Generator[Step, None, tuple[tuple[Image, ...], tuple[Image, ...]]]:
    """Mosaics of scenes, and their windows painted alone; every scene has its own seed."""
    mosaics, windows = [], []
    for k, scene in enumerate(scenes):
        mosaics.append((yield from mosaic(model, sampling, scene, seed + k)))
        windows.append((yield from alone(model, sampling, scene, seed + k)))
    return tuple(mosaics), tuple(windows)


def repaint(model: Model, pixels: torch.Tensor, sampling: Sampling, gsd: float, seed: int) -> Image:
    """Synthesis of uint8 patches (n, 3, row, col) from their own embeddings, each in one piece.

    One window a patch: nothing is tiled or fused, so this measures the networks alone.
    """
    cells = embed_cells(pixels, model.encoder)
    n, _, height, width = pixels.shape
    shape = height // model.codec.factor, width // model.codec.factor
    return paint_cells(model, cells, shape, sampling, gsd, [seed + k for k in range(n)])


def paint_cells(
    model: Model,
    cells: NDArray[np.float32],
    shape: tuple[int, int],
    sampling: Sampling,
    gsd: float,
    seeds: list[int],
) -> Image:
    """Windows of ``shape`` latents from cells (n, row, col, feature), each with its own seed.

    Returns uint8 (n, 3, row, col) of ``shape`` times the codec's factor.
    """
    factor = model.codec.factor
    rows, cols = (np.arange(side) + 0.5 for side in shape)
    where = [np.tile(axis * factor / model.cell, (len(cells), 1)) for axis in (rows, cols)]
    fields = crop_fields(cells, *where)
    return paint_fields(model, fields, sampling, gsd, seeds, "evaluate", cells)


def paint_fields(
    model: Model,
    fields: NDArray[np.float32],
    sampling: Sampling,
    gsd: float,
    seeds: list[int],
    purpose: str,
    cells: NDArray[np.float32] | None = None,
) -> Image:
    """Windows from their fields (n, row, col, feature), one vector a latent, in one piece each.

    ``cells`` (n, row, col, feature) are steered towards where the model has a probe. Returns uint8
    (n, 3, row, col) in pixels. ``purpose`` names the noise.
    """
    field = torch.from_numpy(np.moveaxis(fields, -1, 1))
    clean = guided(model, sampling, field, gsd)
    window = Window(0, 0, *fields.shape[1:3])
    noise = [plane(seed, window, model.codec.channels, purpose) for seed in seeds]
    state = torch.from_numpy(np.stack(noise)) * float(sampling.sigmas[0])
    if cells is not None:
        clean = steer_windows(clean, model, sampling, cells)
    for latents in dpmpp_2m(clean, state, sampling.sigmas):
        state = latents
    painted: Image = model.codec.decode(state.to(model.device)).cpu().numpy()
    return painted


def coded(model: Model, images: Image) -> Image:
    """Images (n, 3, row, col) through the codec alone."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    through: Image = model.codec.decode(model.codec.encode(pixels)).cpu().numpy()
    return through


def chosen_rows(patches: PatchSet, limit: int) -> NDArray[np.intp]:
    """Rows of at most ``limit`` val patches, evenly spread. Raises DataError for less than two."""
    rows = patches.split("val")
    if len(rows) < 2:
        raise DataError(
            f"{patches.path} has {len(rows)} patches in the split 'val', at least 2 are needed: "
            "prepare it with places set aside (--val-fraction or --split-table), or give a raster "
            "with --reference"
        )
    chosen: NDArray[np.intp] = rows[
        np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)
    ]
    return chosen


def check_patches(model: Model, patches: PatchSet) -> None:
    """Raises DataError unless patches are of whole cells, at least two of them, and of latents."""
    height, width = patches.pixels.shape[1:3]
    step = math.lcm(model.cell, model.codec.factor * model.denoiser.multiple)
    if height % step or width % step or height * width < 2 * model.cell**2:
        raise DataError(
            f"{patches.path} has patches of {height} x {width} px: to be painted in one piece "
            f"their sides must be multiples of {step} px, with more than one cell of "
            f"{model.cell} px"
        )


def stack(patches: PatchSet, rows: NDArray[np.intp]) -> Image:
    """Patches as uint8 (n, 3, row, col)."""
    return np.stack([patches.pixels[row] for row in rows]).transpose(0, 3, 1, 2)
