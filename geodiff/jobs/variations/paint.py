"""Recipes and their images -> synthetic pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.geo.slerp import slerp
from geodiff.jobs.measures.quilts import Scene, mosaic
from geodiff.jobs.measures.trials import paint_fields
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.mosaic.steering import Asked
from geodiff.jobs.variations.labelled import Labelled
from geodiff.jobs.variations.recipes import Recipe
from geodiff.models.bundle import Model
from geodiff.steps import drain
from geodiff.window import Window

Image = NDArray[np.uint8]

ONE_PIECE = 1.25
"""Windows a side up to which an image is painted in one piece, larger ones as a mosaic."""

TOGETHER = 4
"""Images that are painted in one batch; always as many, so that none depends on the others."""


def paint(
    model: Model, sampling: Sampling, images: Sequence[Labelled], plan: Sequence[Recipe]
) -> Iterator[Image]:
    """Pixels uint8 (3, row, col) of the recipes of one image, in their order."""
    image = images[plan[0].source]
    own, gsd, grid = image.embeddings(model), image.metres(model), image.grid
    grids = [mixed(own, images, recipe, model) for recipe in plan]
    factor = model.codec.factor
    canvas = canvas_of(grid, factor, model.denoiser.multiple)
    if max(canvas.shape) > ONE_PIECE * sampling.size:
        empty = np.zeros((3, *grid.window.shape), np.uint8)
        for recipe, embeddings in zip(plan, grids, strict=True):
            scene = Scene(image.name, grid, embeddings, empty, gsd, 0)
            yield drain(mosaic(model, sampling, scene, recipe.seed))
        return
    down, across = grid.window.within(canvas.zoom_in(factor))
    for first in range(0, len(plan), TOGETHER):
        group = list(range(first, min(first + TOGETHER, len(plan))))
        padded = group + [group[-1]] * (TOGETHER - len(group))
        fields = np.stack([grids[k].field_on(grid, canvas, factor) for k in padded])
        seeds = [plan[k].seed for k in padded]
        cells = asked_of([grids[k] for k in padded], grid, canvas, model)
        painted = paint_fields(model, fields, sampling, gsd, seeds, "augment", cells)
        yield from painted[: len(group), :, down, across]


def asked_of(
    grids: Sequence[EmbeddingGrid], grid: PixelGrid, canvas: Window, model: Model
) -> NDArray[np.float32] | None:
    """Embeddings (n, row, col, feature) to steer towards; None unless the canvas is whole cells."""
    if model.probe is None:
        return None
    side, factor = model.probe.side, model.codec.factor
    found = [Asked.of(embeddings, grid, canvas, side, factor) for embeddings in grids]
    vectors = [one.vectors.numpy() for one in found if one and one.cells.zoom_in(side) == canvas]
    return np.stack(vectors) if len(vectors) == len(grids) else None


def mixed(
    own: EmbeddingGrid, images: Sequence[Labelled], recipe: Recipe, model: Model
) -> EmbeddingGrid:
    """The embeddings of a recipe: the image's own, or on the arc to those of its partner."""
    if recipe.partner is None:
        return own
    other = images[recipe.partner].embeddings(model)
    between = slerp(own.values, other.values, recipe.share)
    between /= np.linalg.norm(between, axis=-1, keepdims=True)
    return replace(own, values=between.astype(np.float32))


def canvas_of(grid: PixelGrid, factor: int, multiple: int) -> Window:
    """Latents that cover a grid, grown to sides that the network takes."""
    box = grid.latents(factor)
    height, width = (-(-side // multiple) * multiple for side in box.shape)
    return Window(box.row, box.col, height, width)
