"""Figures of large images: their crops beside windows painted alone, seams, and fine detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodiff.jobs.measures import metrics
from geodiff.jobs.measures.distances import Distances, Space, distances, features_of
from geodiff.jobs.measures.quilts import tiles
from geodiff.jobs.measures.seams import PhasePeak, lines_of, phase_peak
from geodiff.jobs.measures.trials import Trial
from geodiff.jobs.mosaic.sampling import Sampling

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Seams:
    """How far the strongest phase of gradients stands out at a stride of the windows.

    See geodiff.jobs.measures.seams. ``peak`` at or below ``limit`` cannot be told from chance.
    """

    period: int  # pixels
    peak: float
    chance: float  # of the same lines in random order
    limit: float  # its 95 % quantile
    real: float  # of real pixels


@dataclass(frozen=True)
class Large:
    """Mosaics painted from the embeddings of real scenes, against their real pixels.

    ``crops`` are windows cut from the mosaics, ``windows`` the same ones painted alone under the
    same field, noise and settings: ``ratio`` of their Fréchet distances is what tiling costs.
    """

    scenes: int
    megapixels: float
    crops: tuple[Distances, ...]  # one a space
    windows: tuple[Distances, ...]
    seams: Seams | None  # None in pictures without any gradient
    detail: float  # power of waves shorter than 8 px over that of real pixels
    detail_windows: float

    @property
    def ratios(self) -> tuple[float, ...]:
        """Crop distance over patch distance, one a space."""
        pairs = zip(self.crops, self.windows, strict=True)
        return tuple(crop.frechet / window.frechet for crop, window in pairs)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        facts = asdict(self)
        for name in ("crops", "windows"):
            facts[name] = [figures.as_dict() for figures in getattr(self, name)]
        return facts | {"ratios": list(self.ratios)}


def measure_large(trial: Trial, spaces: Sequence[Space], sampling: Sampling, factor: int) -> Large:
    """The figures of a trial that has mosaics; ``factor`` is in pixels a latent.

    Floors compare as many real patches of other places, where the trial has some.
    """
    size = sampling.size * factor
    real, made = (
        np.concatenate([tiles(image, size) for image in images])
        for images in ([scene.real for scene in trial.scenes], trial.mosaics)
    )
    windows = np.concatenate(trial.windows)
    crops, patches = [], []
    for space in spaces:
        asked = features_of(space, real)
        other = None if trial.other is None else features_of(space, trial.other)
        crops.append(distances(space, asked, features_of(space, made), other))
        patches.append(distances(space, asked, features_of(space, windows), other))
    return Large(
        scenes=len(trial.scenes),
        megapixels=sum(scene.real[0].size for scene in trial.scenes) / 1e6,
        crops=tuple(crops),
        windows=tuple(patches),
        seams=measure_seams(trial, sampling, factor),
        detail=metrics.detail(made, real),
        detail_windows=metrics.detail(windows, real),
    )


def measure_seams(trial: Trial, sampling: Sampling, factor: int) -> Seams | None:
    """Seam figures of the mosaics; of several strides that with the largest excess."""
    try:
        parts, real = (
            [
                line.without(scene.joints, 4 * factor)
                for image, scene in zip(images, trial.scenes, strict=True)
                for line in lines_of([image], [(0, 0)], factor)
            ]
            for images in (trial.mosaics, [scene.real for scene in trial.scenes])
        )
    except ValueError:
        return None
    found: list[tuple[int, PhasePeak]] = [
        (stride * factor, phase_peak(parts, stride * factor))
        for stride in sorted(set(sampling.strides))
    ]
    period, peak = max(found, key=lambda pair: pair[1].excess)
    return Seams(
        period=period,
        peak=peak.peak,
        chance=peak.chance,
        limit=peak.limit,
        real=phase_peak(real, period, draws=1).peak,
    )
