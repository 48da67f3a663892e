"""Everything that is measured about one source of imagery, as one row of an evaluation."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.errors import ModelError
from geodiff.jobs.measures import metrics
from geodiff.jobs.measures.distances import (
    Distances,
    EncoderSpace,
    Features,
    Space,
    distances,
    features_of,
)
from geodiff.jobs.measures.large import Large, measure_large
from geodiff.jobs.measures.memorisation import Memorisation, Training, memorisation
from geodiff.jobs.measures.mesh import mesh
from geodiff.jobs.measures.trials import Trial
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.models.bundle import Model
from geodiff.models.features import FeatureDistance
from geodiff.steps import Step

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class CodecFigures:
    """Real images encoded and decoded: the ceiling of everything that is painted."""

    psnr: float  # dB
    distance: float | None  # of EfficientNet-Lite0's features; None without its package
    similarity: float  # cosine of embeddings before and after
    detail: float  # power of waves shorter than 8 px over that of real pixels
    mesh: float | None  # see measures.mesh


@dataclass(frozen=True)
class Row:
    """Figures of one source, or of all held-out patches together.

    ``patch`` has one entry a feature space. ``spectrum`` is the mean logarithm (base 10) of
    synthetic over real power in 16 rings from 0 to 0.5 cycles a pixel.
    """

    source: str
    kind: str  # val, scene or all
    gsd: float | None
    patches: int
    patch: tuple[Distances, ...]
    codec: CodecFigures | None = None
    sharpness: float | None = None  # synthetic over real: mean difference of neighbouring pixels
    detail: float | None = None
    mesh: float | None = None  # see measures.mesh; of synthetic pixels and of real ones
    mesh_real: float | None = None
    spectrum: tuple[float | None, ...] = ()
    memory: Memorisation | None = None
    large: Large | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        return {
            "source": self.source,
            "kind": self.kind,
            "gsd": self.gsd,
            "patches": self.patches,
            "patch": [figures.as_dict() for figures in self.patch],
            "codec": None if self.codec is None else vars(self.codec),
            "sharpness": self.sharpness,
            "detail": self.detail,
            "mesh": self.mesh,
            "mesh_real": self.mesh_real,
            "spectrum": list(self.spectrum),
            "memorisation": None if self.memory is None else self.memory.as_dict(),
            "large": None if self.large is None else self.large.as_dict(),
        }


@dataclass(frozen=True, eq=False)
class Measured:
    """A row with what made it: its images, and their features for a row of all sources."""

    row: Row
    trial: Trial
    features: tuple[tuple[Features, Features, Features | None], ...]  # real, made, other


def measure(
    model: Model,
    trial: Trial,
    spaces: Sequence[Space],
    sampling: Sampling,
    training: Sequence[Training],
) -> Generator[Step, None, Measured]:
    """The row of a trial; the generator's value."""
    total = len(spaces) + 2
    features = []
    for done, space in enumerate(spaces):
        yield Step(f"measure {trial.name}", done, total)
        other = None if trial.other is None else features_of(space, trial.other)
        features.append((features_of(space, trial.real), features_of(space, trial.made), other))
    yield Step(f"measure {trial.name}", total - 2, total)
    large = None
    if trial.scenes:
        large = measure_large(trial, spaces, sampling, model.codec.factor)
    yield Step(f"measure {trial.name}", total - 1, total)
    row = Row(
        source=trial.name,
        kind=trial.kind,
        gsd=trial.gsd,
        patches=len(trial.real),
        patch=tuple(
            distances(space, *parts) for space, parts in zip(spaces, features, strict=True)
        ),
        codec=codec_figures(model, trial),
        sharpness=ratio(metrics.sharpness(trial.made), metrics.sharpness(trial.real)),
        detail=metrics.detail(trial.made, trial.real),
        mesh=mesh(trial.made, model.codec.factor),
        mesh_real=mesh(trial.real, model.codec.factor),
        spectrum=spectrum(trial.made, trial.real),
        large=large,
        memory=(yield from memorisation(trial.real, trial.made, training, model))
        if training
        else None,
    )
    yield Step(f"measure {trial.name}", total, total)
    return Measured(row, trial, tuple(features))


def pooled(spaces: Sequence[Space], parts: Sequence[Measured]) -> Row:
    """One row over the held-out patches of several data sets."""
    figures = []
    for number, space in enumerate(spaces):
        real = [f for part in parts for f in part.features[number][0]]
        made = [f for part in parts for f in part.features[number][1]]
        others = [f for part in parts for f in part.features[number][2] or []]
        figures.append(distances(space, real, made, others or None))
    return Row("all", "all", None, sum(part.row.patches for part in parts), tuple(figures))


def codec_figures(model: Model, trial: Trial) -> CodecFigures:
    """What the codec alone does to the real images."""
    space = EncoderSpace(model.encoder)
    before, after = (np.concatenate(features_of(space, x)) for x in (trial.real, trial.decoded))
    return CodecFigures(
        psnr=metrics.psnr(trial.real, trial.decoded),
        distance=feature_distance(trial.real, trial.decoded),
        similarity=metrics.similarity(before, after),
        detail=metrics.detail(trial.decoded, trial.real),
        mesh=mesh(trial.decoded, model.codec.factor),
    )


def feature_distance(real: Image, made: Image) -> float | None:
    """Mean FeatureDistance of images (n, 3, row, col); None where its package is not installed."""
    try:
        net = FeatureDistance()
    except ModelError:
        return None
    found = []
    with torch.no_grad():
        for pair in zip(real, made, strict=True):
            one, two = (torch.from_numpy(np.ascontiguousarray(x))[None] / 127.5 - 1 for x in pair)
            found.append(float(net(two, one)))
    return float(np.mean(found))


def spectrum(made: Image, real: Image) -> tuple[float | None, ...]:
    """Logarithm of synthetic over real power by ring; None for a ring without a frequency."""
    _, one = metrics.radial_spectrum(made)
    _, other = metrics.radial_spectrum(real)
    return tuple(float(gap) if np.isfinite(gap) else None for gap in one - other)


def ratio(one: float, other: float) -> float | None:
    """Their ratio; None over 0."""
    return one / other if other else None
