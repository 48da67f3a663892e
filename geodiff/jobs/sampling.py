"""How a mode samples, and the denoising of one canvas of latents under an embedding field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geodiff.diffusion import Denoise, Guided, Precondition, Windowed, dpmpp_2m, flow_sigmas, tent
from geodiff.diffusion.noise import plane
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.models.bundle import Model
from geodiff.window import Window

GUIDED_SIGMAS = (0.2, 5.0)
"""Noise levels between which guidance is on (Kynkäänniemi et al. 2024): the middle ones."""


@dataclass(frozen=True)
class Sampling:
    """Settings of one denoising pass; sizes in latents."""

    size: int  # side of a window
    stride: int  # between windows
    shifted: bool  # move the windows at every step
    steps: int  # solver steps
    guidance: float  # scale; 1 is none
    pad: int  # latents around the box, so that its edge is as well supported as its middle
    batch: int  # windows a network call

    @classmethod
    def of(
        cls, mode: str, model: Model, steps: int | None, guidance: float | None, batch: int
    ) -> Sampling:
        """The settings of ``mode``; ``steps`` and ``guidance`` override it unless None."""
        size = model.window
        base = cls(size, 3 * size // 4, True, 16, model.guidance, size // 2, batch)
        if mode == "quality":
            base = replace(base, stride=size // 2, shifted=False, steps=20)
        return replace(
            base,
            steps=base.steps if steps is None else steps,
            guidance=base.guidance if guidance is None else guidance,
        )

    @property
    def sigmas(self) -> Tensor:
        """Noise levels of the solver, (steps + 1,), the last one 0."""
        return flow_sigmas(self.steps)

    def canvas(self, grid: PixelGrid, factor: int) -> Window:
        """Latents to paint for ``grid``: those that cover it, padded, at least one window."""
        canvas = grid.latents(factor).pad(self.pad)
        height, width = max(canvas.height, self.size), max(canvas.width, self.size)
        return Window(canvas.row, canvas.col, height, width)

    def windowed(self, at: Callable[[Sequence[Window]], Denoise], canvas: Window) -> Windowed:
        """Fuse the windows of ``canvas`` whose conditions ``at`` binds."""
        weights = tent(self.size)
        return Windowed(
            at, canvas, self.size, self.stride, weights, self.sigmas, self.shifted, self.batch
        )

    def windows(self, canvas: Window) -> int:
        """Windows of the first step; later ones have about as many."""
        return self.windowed(unbound, canvas).evaluations(float(self.sigmas[0]))

    def evaluations(self, canvas: Window) -> int:
        """Network evaluations of one window in a whole pass; a guided one counts twice."""
        fuse = self.windowed(unbound, canvas)
        guided = Guided(nothing, nothing, self.guidance, GUIDED_SIGMAS)
        levels = self.sigmas[:-1].tolist()
        return sum(fuse.evaluations(s) * (2 if guided.active(s) else 1) for s in levels)


def nothing(x: Tensor, sigma: float) -> Tensor:
    """A denoiser that is counted, never called."""
    raise NotImplementedError


def unbound(windows: Sequence[Window]) -> Denoise:
    """Binds no conditions; for counting."""
    return nothing


def conditions(model: Model, embeddings: EmbeddingGrid, grid: PixelGrid, canvas: Window) -> Tensor:
    """The dense field of the canvas, float16 (feature, row, col)."""
    dim = embeddings.values.shape[-1]
    field = torch.empty((dim, *canvas.shape), dtype=torch.float16)
    for row in range(0, canvas.height, 64):
        height = min(64, canvas.height - row)
        part = Window(canvas.row + row, canvas.col, height, canvas.width)
        block = embeddings.field_on(grid, part, model.codec.factor)
        field[:, row : row + height] = torch.from_numpy(np.moveaxis(block, -1, 0))
    return field


def denoise(
    model: Model, sampling: Sampling, field: Tensor, canvas: Window, gsd: float, seed: int
) -> Iterator[Tensor]:
    """Latents (1, channel, row, col) of the canvas after every solver step.

    ``field`` is (feature, row, col) over the canvas, ``gsd`` in metres per pixel.
    """

    def at(windows: Sequence[Window]) -> Denoise:
        slices = [window.within(canvas) for window in windows]
        local = torch.stack([field[:, rows, cols] for rows, cols in slices]).float()

        def velocity(known: Tensor | None) -> Denoise:
            return Precondition(lambda x, t: model.denoiser.velocity(x, t, known, gsd))

        return Guided(velocity(local), velocity(None), sampling.guidance, GUIDED_SIGMAS)

    noise = torch.from_numpy(plane(seed, canvas, model.codec.channels, "initial"))[None]
    start = noise * float(sampling.sigmas[0])
    yield from dpmpp_2m(sampling.windowed(at, canvas), start, sampling.sigmas)
