"""Held-out patches and a model -> a report: how well synthesis follows and resembles the real."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.jobs import metrics
from geodiff.jobs.dataset import PatchSet
from geodiff.jobs.latents import embed_cells
from geodiff.jobs.sampling import Sampling, conditions, denoise
from geodiff.models.bundle import Model
from geodiff.steps import Step


@dataclass(frozen=True)
class Report:
    """Figures over the patches of one split of one dataset.

    Features are the cell embeddings of the model's own encoder, so distances compare models that
    share it and nothing else. ``floor`` figures compare real with real.
    """

    model: str
    dataset: str
    patches: int
    cells: int
    steps: int
    guidance: float
    similarity: float  # mean cosine between asked and re-encoded embeddings
    similarity_codec: float  # the same for the codec alone: real pixels encoded and decoded
    similarity_shuffled: float  # control: between different places
    frechet: float  # synthetic against real val cells
    frechet_floor: float  # real train against real val cells, as many
    nearest_train: float  # median cosine of a synthetic cell to its nearest training cell
    nearest_train_floor: float  # the same of a real val cell
    codec_psnr: float  # dB, real patches encoded and decoded
    sharpness: float  # synthetic over real: mean difference of neighbouring pixels

    def as_dict(self) -> dict[str, float | int | str]:
        """JSON-ready figures."""
        return asdict(self)


def evaluate(
    model: Model,
    patches: PatchSet,
    limit: int = 200,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
) -> Generator[Step, None, Report]:
    """Repaint held-out patches from their own embeddings; the generator's value is the report.

    Takes at most ``limit`` patches of the split val, evenly spread. Raises DataError if there are
    too few for a Fréchet distance.
    """
    rows = patches.split("val")
    rows = rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)]
    cells_each = (patches.pixels.shape[1] // model.cell) * (patches.pixels.shape[2] // model.cell)
    if len(rows) * cells_each <= model.encoder.dim:
        raise DataError(
            f"{patches.path} has {len(rows)} val patches of {cells_each} cells; a Fréchet distance "
            f"needs more than {model.encoder.dim} cells"
        )
    sampling = Sampling.of("balanced", model, steps, guidance, 8)
    made, decoded = [], []
    real = np.stack([patches.pixels[row] for row in rows]).transpose(0, 3, 1, 2)
    for done, image in enumerate(real, start=1):
        pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
        made.append(repaint(model, pixels, sampling, patches.gsd, seed + done))
        decoded.append(codec_only(model, pixels))
        yield Step("evaluate", done, len(rows))
    train = patches.split("train")
    sample = train[np.linspace(0, len(train) - 1, min(len(train), 4 * len(rows))).astype(int)]
    known = np.stack([patches.pixels[row] for row in sample]).transpose(0, 3, 1, 2)
    return report(model, patches, sampling, real, np.stack(made), np.stack(decoded), known)


def repaint(
    model: Model, pixels: torch.Tensor, sampling: Sampling, gsd: float, seed: int
) -> NDArray[np.uint8]:
    """Synthesis of one patch uint8 (1, 3, row, col) from its own embeddings: (3, row, col)."""
    values = embed_cells(pixels, model.encoder)[0]
    height, width = pixels.shape[2:]
    box = GeoBox((height, width), Affine(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None)
    grid = PixelGrid(box, 0, 0)
    valid = np.ones(values.shape[:2], np.bool_)
    encoder = model.encoder.fingerprint
    embeddings = EmbeddingGrid(values, valid, grid.cell_grid(model.cell), model.cell, gsd, encoder)
    canvas = sampling.canvas(grid, model.codec.factor)
    field = conditions(model, embeddings, grid, canvas)
    latents = torch.empty(0)
    for state in denoise(model, sampling, field, canvas, gsd, seed):
        latents = state
    rows, cols = grid.latents(model.codec.factor).within(canvas)
    whole = model.codec.decode(latents.to(model.device))[0].cpu().numpy()
    f = model.codec.factor
    painted: NDArray[np.uint8] = whole[
        :, rows.start * f : rows.stop * f, cols.start * f : cols.stop * f
    ][:, :height, :width]
    return painted


def codec_only(model: Model, pixels: torch.Tensor) -> NDArray[np.uint8]:
    """One patch encoded and decoded: (3, row, col)."""
    decoded: NDArray[np.uint8] = model.codec.decode(model.codec.encode(pixels))[0].cpu().numpy()
    return decoded


def report(
    model: Model,
    patches: PatchSet,
    sampling: Sampling,
    real: NDArray[np.uint8],
    made: NDArray[np.uint8],
    decoded: NDArray[np.uint8],
    train: NDArray[np.uint8],
) -> Report:
    """The figures of stacks of images (n, 3, row, col)."""
    asked, again, through, known = (
        features(model, images) for images in (real, made, decoded, train)
    )
    few = known[np.linspace(0, len(known) - 1, min(len(known), len(asked))).astype(int)]
    return Report(
        model=f"{model.name} {model.hash}",
        dataset=patches.path.name,
        patches=len(real),
        cells=len(asked),
        steps=sampling.steps,
        guidance=sampling.guidance,
        similarity=metrics.similarity(asked, again),
        similarity_codec=metrics.similarity(asked, through),
        similarity_shuffled=metrics.shuffled_similarity(asked, again),
        frechet=metrics.frechet(again, asked),
        frechet_floor=metrics.frechet(few, asked),
        nearest_train=metrics.nearest(again, known),
        nearest_train_floor=metrics.nearest(asked, known),
        codec_psnr=metrics.psnr(real, decoded),
        sharpness=metrics.sharpness(made) / metrics.sharpness(real),
    )


def features(model: Model, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Cell embeddings (cells, feature) of images (n, 3, row, col)."""
    parts = [
        embed_cells(torch.from_numpy(np.ascontiguousarray(image))[None], model.encoder)
        for image in images
    ]
    return np.concatenate(parts).reshape(-1, model.encoder.dim).astype(np.float64)
