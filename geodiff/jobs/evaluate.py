"""Held-out patches and a model -> a report: how well synthesis follows and resembles the real."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.diffusion import Denoise, Guided, Precondition, dpmpp_2m
from geodiff.diffusion.noise import plane
from geodiff.errors import DataError
from geodiff.jobs import metrics
from geodiff.jobs.dataset import PatchSet
from geodiff.jobs.latents import crop_fields, embed_cells
from geodiff.jobs.sampling import Sampling
from geodiff.models.bundle import Model
from geodiff.steps import Step
from geodiff.window import Window

TOGETHER = 8
"""Patches that are painted in one batch."""


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
    kernel: float  # kernel distance (unbiased, KID's formula) of synthetic to real val cells
    kernel_spread: float  # its standard deviation over subsets
    kernel_floor: float  # the same of real train to real val cells
    nearest_train: float  # median cosine of a synthetic cell to the nearest sampled training cell
    nearest_train_floor: float  # the same of a real val cell
    codec_psnr: float  # dB, real patches encoded and decoded
    sharpness: float  # synthetic over real: mean difference of neighbouring pixels
    detail: float  # synthetic over real: power of waves shorter than 8 pixels
    detail_codec: float  # the same of the codec alone, the ceiling

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
    real = np.stack([patches.pixels[row] for row in rows]).transpose(0, 3, 1, 2)
    made, decoded = [], []
    for first in range(0, len(real), TOGETHER):
        pixels = torch.from_numpy(np.ascontiguousarray(real[first : first + TOGETHER]))
        made.append(repaint(model, pixels, sampling, patches.gsd, seed + first))
        decoded.append(model.codec.decode(model.codec.encode(pixels)).cpu().numpy())
        yield Step("evaluate", first + len(pixels), len(rows))
    train = patches.split("train")
    sample = train[np.linspace(0, len(train) - 1, min(len(train), 4 * len(rows))).astype(int)]
    known = np.stack([patches.pixels[row] for row in sample]).transpose(0, 3, 1, 2)
    painted, through = np.concatenate(made), np.concatenate(decoded)
    return report(model, patches, sampling, real, painted, through, known)


def repaint(
    model: Model, pixels: torch.Tensor, sampling: Sampling, gsd: float, seed: int
) -> NDArray[np.uint8]:
    """Synthesis of uint8 patches (n, 3, row, col) from their own embeddings, each in one piece.

    One window a patch: nothing is tiled or fused, so this measures the networks alone.
    """
    n, _, height, width = pixels.shape
    f = model.codec.factor
    rows, cols = (np.arange(side // f) + 0.5 for side in (height, width))
    where = [np.tile(axis * f / model.cell, (n, 1)) for axis in (rows, cols)]
    vectors = crop_fields(embed_cells(pixels, model.encoder), *where)
    field = torch.from_numpy(np.moveaxis(vectors, -1, 1))

    def bound(known: torch.Tensor | None) -> Denoise:
        return Precondition(lambda x, t: model.denoiser.velocity(x, t, known, gsd))

    guided = Guided(bound(field), bound(None), sampling.guidance, sampling.guided)
    window = Window(0, 0, height // f, width // f)
    noise = [plane(seed + k, window, model.codec.channels, "evaluate") for k in range(n)]
    state = torch.from_numpy(np.stack(noise)) * float(sampling.sigmas[0])
    for latents in dpmpp_2m(guided, state, sampling.sigmas):
        state = latents
    painted: NDArray[np.uint8] = model.codec.decode(state.to(model.device)).cpu().numpy()
    return painted


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
    root = model.encoder.dim**0.5  # unit vectors to features of about unit variance
    few = known[np.linspace(0, len(known) - 1, min(len(known), len(asked))).astype(int)]
    kernel, spread = metrics.kernel_distance(again * root, asked * root)
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
        kernel=kernel,
        kernel_spread=spread,
        kernel_floor=metrics.kernel_distance(few * root, asked * root)[0],
        nearest_train=metrics.nearest(again, known),
        nearest_train_floor=metrics.nearest(asked, known),
        codec_psnr=metrics.psnr(real, decoded),
        sharpness=metrics.sharpness(made) / metrics.sharpness(real),
        detail=metrics.detail(made, real),
        detail_codec=metrics.detail(decoded, real),
    )


def features(model: Model, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Cell embeddings (cells, feature) of images (n, 3, row, col)."""
    parts = [
        embed_cells(torch.from_numpy(np.ascontiguousarray(image))[None], model.encoder)
        for image in images
    ]
    return np.concatenate(parts).reshape(-1, model.encoder.dim).astype(np.float64)
