"""How far synthetic images lie from real ones in one feature space, as a set and pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.errors import UsageError
from geodiff.jobs.measures import metrics
from geodiff.jobs.training.latents import embed_cells
from geodiff.models.bundle import Model
from geodiff.models.encoder import Encoder
from geodiff.models.spaces import NAMES, open_hub, open_inception, open_lite0

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
Features = list[Floats]
"""Of each image its samples (sample, feature)."""

DRAWS = 10
"""Random halves over which a spread is taken; four where features are long and figures dear."""


class Space(Protocol):
    """A named map from images to feature vectors."""

    @property
    def name(self) -> str:
        """As it is asked for."""

    @property
    def title(self) -> str:
        """What a Fréchet distance in it may be called."""

    def features(self, images: Image) -> Floats:
        """uint8 (n, 3, row, col) -> (n, sample, feature)."""


@dataclass(frozen=True, eq=False)
class EncoderSpace:
    """Cell embeddings of a model's own encoder: compares models that share it, and nothing else."""

    encoder: Encoder
    name: str = "encoder"
    title: str = "Fréchet (own encoder)"

    def features(self, images: Image) -> Floats:
        """uint8 (n, 3, row, col) -> unit vectors (n, cell, feature)."""
        cells = [
            embed_cells(torch.from_numpy(np.ascontiguousarray(image))[None], self.encoder)
            for image in images
        ]
        stacked = np.concatenate(cells).astype(np.float64)
        return stacked.reshape(len(images), -1, self.encoder.dim)


def open_space(name: str, model: Model, weights: str | None) -> Space:
    """The space called ``name``, from the file ``weights`` where it takes one.

    Raises UsageError for an unknown name, or for weights that it does not take; ModelError where
    its network cannot be had.
    """
    if weights is not None and name in NAMES[:2]:
        raise UsageError(
            f"--weights {name}={weights}: the features {name} have weights of their own"
        )
    if name == "encoder":
        return EncoderSpace(model.encoder)
    if name == "efficientnet-lite0":
        return open_lite0(model.cell, model.device)
    if name == "inception":
        return open_inception(weights, model.device)
    if name in NAMES:
        return open_hub(name, weights, model.device)
    raise UsageError(f"features {name} are unknown; choose {', '.join(NAMES)}")


@dataclass(frozen=True)
class Distances:
    """Synthetic against real in one space; ``floor`` figures compare real with real.

    None where there are too few images. ``halves`` are Fréchet distances of one random half of the
    synthetic images to the other half of the real ones, so that none is compared with the place it
    was made from: their mean has fewer samples than ``frechet`` and is therefore larger; so is that
    of the floor's, with which it compares.
    """

    space: str
    title: str  # what ``frechet`` may be called
    images: int
    samples: int  # vectors on each side
    few: bool  # fewer samples than features: the Fréchet distance is rough and too large
    similarity: float  # mean cosine of asked and made, pair by pair
    similarity_error: float | None  # standard error over images
    shuffled: float  # control: mean cosine of different pairs
    frechet: float
    frechet_floor: float | None  # of real images of other places, as many
    frechet_halves: float | None
    frechet_spread: float | None  # standard deviation over halves
    floor_halves: float | None
    floor_spread: float | None
    kernel: float | None  # unbiased kernel distance (KID's formula)
    kernel_spread: float | None
    kernel_floor: float | None
    each: tuple[float, ...] = field(default=(), repr=False)  # similarity of each image
    halves: tuple[float, ...] = field(default=(), repr=False)  # Fréchet distance of each half

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        return {name: value for name, value in asdict(self).items() if name not in UNSHOWN}


UNSHOWN = ("each", "halves")


def distances(
    space: Space, real: Features, made: Features, other: Features | None = None, seed: int = 0
) -> Distances:
    """Compare images of equal number and order; ``other`` are real ones of other places.

    Kernel distances take features of about unit variance: unit vectors are scaled by the root of
    their length. Similarities of features that are no unit vectors are taken after the mean of the
    real ones is removed, so that a shuffled pair has about 0. Raises ValueError for less than two
    samples.
    """
    asked, given = np.concatenate(real), np.concatenate(made)
    own = space.name == "encoder"
    root = asked.shape[1] ** 0.5 if own else 1.0
    one, two = (part if own else unit(part - asked.mean(0)) for part in (asked, given))
    ends = np.cumsum([len(part) for part in real])[:-1]
    each = [float(part.mean()) for part in np.split((one * two).sum(1), ends)]
    known = None if other is None else evenly(np.concatenate(other), len(asked))
    kernel, spread = kernels(given * root, asked * root)
    own_halves, floors = halves(real, made, seed)
    return Distances(
        space=space.name,
        title=space.title,
        images=len(real),
        samples=len(asked),
        few=len(asked) <= asked.shape[1],
        similarity=metrics.similarity(one, two),
        similarity_error=float(np.std(each) / len(each) ** 0.5) if len(each) > 1 else None,
        shuffled=metrics.shuffled_similarity(one, two),
        frechet=metrics.frechet_few(given, asked),
        frechet_floor=None if known is None else metrics.frechet_few(known, asked),
        frechet_halves=mean(own_halves),
        frechet_spread=deviation(own_halves),
        floor_halves=mean(floors),
        floor_spread=deviation(floors),
        kernel=kernel,
        kernel_spread=spread,
        kernel_floor=None if known is None else kernels(known * root, asked * root)[0],
        each=tuple(each),
        halves=tuple(own_halves),
    )


def halves(real: Features, made: Features, seed: int) -> tuple[list[float], list[float]]:
    """Fréchet distances over random halves of the images: made to real, and real to real.

    Each compares one half with the other, so both have the same samples. Empty for fewer than four
    images. Two models are compared on the same halves if they have the same seed.
    """
    count = len(real)
    if count < 4:
        return [], []
    rng = np.random.default_rng(seed)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(DRAWS if real[0].shape[1] <= 512 else 4):
        order = rng.permutation(count)
        here, there = order[: count // 2], order[count // 2 :]
        rest = np.concatenate([real[k] for k in there])
        for figures, images in zip(found, (made, real), strict=True):
            part = np.concatenate([images[k] for k in here])
            figures.append(metrics.frechet_few(part, rest))
    return found


def kernels(one: Floats, other: Floats) -> tuple[float | None, float | None]:
    """The kernel distance and its spread; None for fewer than four rows."""
    if min(len(one), len(other)) < 4:
        return None, None
    return metrics.kernel_distance(one, other)


def features_of(space: Space, images: Image) -> Features:
    """Samples of each image (n, 3, row, col)."""
    return list(space.features(images))


def evenly(rows: Floats, count: int) -> Floats:
    """At most ``count`` rows, evenly spread."""
    chosen: Floats = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]
    return chosen


def unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = vectors / np.maximum(lengths, 1e-12)
    return scaled


def mean(figures: Sequence[float]) -> float | None:
    """The mean; None of none."""
    return float(np.mean(figures)) if figures else None


def deviation(figures: Sequence[float]) -> float | None:
    """The standard deviation; None of none."""
    return float(np.std(figures)) if figures else None
