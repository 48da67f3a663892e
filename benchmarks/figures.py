"""Mosaics, patches and real pixels -> the figures of one row of the comparison of modes.

All distances are in the space of the model's own encoder, the one it is conditioned on: they
compare samplers of one model and are no FID.

- ``frechet``: over cells (64 px, one sample each) of the mosaics, cut on the chips.
- ``unaligned``: the same over cells half a cell off, inside the chips, where the field lies between
  cell centres.
- ``patch``: over cells of untiled patches: windows of the same places, field and noise, each
  denoised and decoded alone, with the mode's own steps and guidance. ``frechet / patch`` is what
  tiling costs (or brings, below 1).
- ``kernel``: kernel distance (KID's formula) over crops of 2 x 2 cells, flattened: unbiased, and it
  sees how neighbouring cells go together.
- ``seam``: geodiff.jobs.measures.seams; lines at latent borders, over half a cell from joints.
  ``peak`` folds at each stride of the mode, ``chance`` and ``limit`` are those of random order,
  ``last`` is the ratio across the borders of the last step's windows, which no step can repair, and
  ``real`` the peak of real pixels at the same period.
- ``similarity``: cosine of asked and re-encoded cells, ``shuffled`` between different places.
- ``detail``: power of waves shorter than 8 px over that of real pixels; below 1 is blur. The codec
  alone, in a row of its own, is the ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scenes import Floats, Image, Scene, cells, crops, tiles

from geodiff.jobs.measures import metrics
from geodiff.jobs.measures.seams import Lines, PhasePeak, lines_of, phase_peak, seam_ratio
from geodiff.jobs.mosaic.modes import Sampling, unbound
from geodiff.models.bundle import Model

LARGE = 4096
"""Pixels a side of the canvas whose evaluations are counted as well: around a small one the padding
weighs more, and the paper's sampler, which has none, looks cheap."""


@dataclass(frozen=True)
class Row:
    """Figures of one mode, or of real pixels; None where one has no meaning."""

    name: str
    evaluations: float | None = None  # network evaluations per megapixel delivered
    large: float | None = None  # the same of one canvas of LARGE x LARGE px, counted, not painted
    seconds: float | None = None  # per megapixel delivered
    frechet: float | None = None
    unaligned: float | None = None
    patch: float | None = None
    kernel: float | None = None
    kernel_spread: float | None = None
    period: int | None = None  # pixels, of the seam figures
    peak: float | None = None
    chance: float | None = None
    limit: float | None = None
    real: float | None = None
    last: float | None = None
    similarity: float | None = None
    shuffled: float | None = None
    detail: float | None = None

    def as_dict(self) -> dict[str, float | int | str | None]:
        """JSON-ready figures."""
        return asdict(self)


def distance(made: Floats, real: Floats) -> float | None:
    """Fréchet distance of cells (..., feature); None where there are too few."""
    dim = made.shape[-1]
    one, other = made.reshape(-1, dim), real.reshape(-1, dim)
    return metrics.frechet(one, other) if min(len(one), len(other)) > dim else None


@dataclass(frozen=True, eq=False)
class Truth:
    """Scenes and the features of their real pixels, which every mode is compared with."""

    model: Model
    scenes: Sequence[Scene]
    aligned: Floats  # cells (block, row, col, feature)
    unaligned: Floats  # the same half a cell off

    @classmethod
    def of(cls, model: Model, scenes: Sequence[Scene]) -> Truth:
        """Embed the real pixels of scenes."""
        blocks = np.concatenate([tiles(scene.real, scene.block) for scene in scenes])
        near, off = (cells(model, blocks, inset) for inset in (0, model.cell // 2))
        return cls(model, scenes, near, off)

    def tiles(self, images: Sequence[Image]) -> Image:
        """Blocks (n, 3, row, col) of images of all scenes."""
        pairs = zip(images, self.scenes, strict=True)
        return np.concatenate([tiles(image, scene.block) for image, scene in pairs])

    @property
    def real(self) -> Image:
        """Blocks of the real pixels."""
        return self.tiles([scene.real for scene in self.scenes])

    def resemblance(self, blocks: Image) -> dict[str, Any]:
        """What compares blocks (n, 3, row, col) with the real ones as distributions."""
        made, off = (cells(self.model, blocks, inset) for inset in (0, self.model.cell // 2))
        kernel, spread = metrics.kernel_distance(crops(made), crops(self.aligned))
        return {
            "frechet": distance(made, self.aligned),
            "unaligned": distance(off, self.unaligned),
            "kernel": kernel,
            "kernel_spread": spread,
            "detail": metrics.detail(blocks, self.real),
        }

    def fidelity(self, images: Sequence[Image]) -> dict[str, Any]:
        """How well images, one a scene, follow the embeddings that were asked for."""
        dim = self.model.encoder.dim
        asked = self.aligned.reshape(-1, dim)
        made = cells(self.model, self.tiles(images)).reshape(-1, dim)
        return {
            "similarity": metrics.similarity(asked, made),
            "shuffled": metrics.shuffled_similarity(asked, made),
        }

    def patch(self, patches: Sequence[Image]) -> float | None:
        """Fréchet distance of untiled patches, one stack (n, 3, row, col) a scene."""
        made = np.concatenate([cells(self.model, stack) for stack in patches])
        return distance(made, self.aligned)

    def lines(self, images: Sequence[Image]) -> list[Lines]:
        """Lines at latent borders of images, one a scene, away from its joints."""
        return [
            line.without(scene.joints, self.model.cell // 2)
            for image, scene in zip(images, self.scenes, strict=True)
            for line in lines_of([image], [(0, 0)], self.model.codec.factor)
        ]

    def seams(self, images: Sequence[Image], sampling: Sampling) -> dict[str, Any]:
        """Seam figures of mosaics; of several strides that with the largest excess."""
        factor = self.model.codec.factor
        parts, real = self.lines(images), self.lines([scene.real for scene in self.scenes])
        found: list[tuple[int, PhasePeak]] = [
            (stride * factor, phase_peak(parts, stride * factor))
            for stride in sorted(set(sampling.strides))
        ]
        period, peak = max(found, key=lambda pair: pair[1].excess)
        return {
            "period": period,
            "peak": peak.peak,
            "chance": peak.chance,
            "limit": peak.limit,
            "real": phase_peak(real, period, draws=1).peak,
            "last": seam_ratio(parts, *self.last_borders(sampling)),
        }

    def last_borders(self, sampling: Sampling) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of pixels where windows of the last step begin or end."""
        factor = self.model.codec.factor
        canvas = sampling.canvas(self.scenes[0].grid, factor)  # scenes have one size and place
        windows = sampling.windowed(unbound, canvas).windows(sampling.levels[-1])
        rows = {edge * factor for window in windows for edge in (window.row, window.bottom)}
        cols = {edge * factor for window in windows for edge in (window.col, window.right)}
        return np.array(sorted(rows), np.int64), np.array(sorted(cols), np.int64)


def shown(row: Row, paper: Row | None) -> dict[str, str]:
    """The cells of a row of the table."""

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    def over(value: float | None, other: float | None, form: str = ".2f") -> str:
        return "" if value is None or not other else format(value / other, form)

    peak = "" if row.peak is None else f"{row.peak:.3f} ({row.chance:.3f} to {row.limit:.3f})"
    kernel = "" if row.kernel is None else f"{row.kernel:.3f} ± {row.kernel_spread:.3f}"
    return {
        "mode": row.name,
        "evaluations per MP": number(row.evaluations, ",.0f"),
        "fewer": over(paper.evaluations if paper else None, row.evaluations, ".1f"),
        f"fewer at {LARGE:,} px": over(paper.large if paper else None, row.large, ".1f"),
        "time": over(row.seconds, paper.seconds if paper else None, ".3f"),
        "Fréchet": number(row.frechet, ".3f"),
        "unaligned": number(row.unaligned, ".3f"),
        "patch": number(row.patch, ".3f"),
        "crop / patch": over(row.frechet, row.patch),
        "kernel": kernel,
        "seam: peak (chance to 95 %)": peak,
        "real": number(row.real, ".3f"),
        "last borders": number(row.last, ".3f"),
        "similarity": number(row.similarity, ".3f"),
        "shuffled": number(row.shuffled, ".3f"),
        "detail": number(row.detail, ".2f"),
    }


def about(truth: Truth, seed: int) -> str:
    """What the table was measured on, in a sentence or two."""
    scenes, model = truth.scenes, truth.model
    real = truth.real
    window = model.window * model.codec.factor
    side = scenes[0].real.shape[1]
    patches = sum(len(tiles(scene.real, window)) for scene in scenes)
    each = (real.shape[-1] // model.cell) ** 2
    off = (real.shape[-1] // model.cell - 1) ** 2
    return (
        f"Model {model.name} {model.hash}; {len(scenes)} of {scenes[0].name.split(' of ')[-1]}, "
        f"{side} x {side} px each, seed {seed}. Samples: {len(real) * each} cells aligned, "
        f"{len(real) * off} unaligned, {patches} patches of {window} px, "
        f"{len(real) * (each // 4)} crops of {2 * model.cell} px for the kernel distance; one seed."
    )
