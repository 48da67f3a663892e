"""A small random network in place of the denoiser: smooth, and blind to its batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from odc.geo.geobox import GeoBox
from torch import Tensor

from geodiff.diffusion import Precondition
from geodiff.geo.grid import PixelGrid
from geodiff.models.bundle import Model
from geodiff.window import Window
from tests.jobs.rasters import UTM


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Toy:
    """Speaks like a Denoiser; predicts ``tanh`` of two convolutions, of x and of the field.

    ``taught`` are the scales of guidance that it knows exactly.
    """

    features: int = 8
    channels: int = 4
    taught: tuple[float, float] | None = None
    calls: list[int] = field(default_factory=list)  # images of every call

    sigma_max = 99.0
    device = torch.device("cpu")

    def predicted(self, x: Tensor, known: Tensor | None) -> Tensor:
        """One image (channel, row, col) and its field (feature, row, col), in any precision."""
        weight = random(self.channels, self.channels, 3, 3).to(x) / 4
        made = torch.nn.functional.conv2d(x[None], weight, padding=1)[0] + x.mean() / 2
        if known is not None:
            mix = random(self.channels, self.features, seed=1).to(x) / 2
            made = made + torch.einsum("cf,fhw->chw", mix, known.to(x))
        return torch.tanh(made)

    def knows(self, guidance: float) -> bool:
        return self.taught is not None and self.taught[0] <= guidance <= self.taught[1]

    def velocity(
        self, noisy: Tensor, time: Tensor, known: Tensor | None, gsd: float, guidance: float = 1.0
    ) -> Tensor:
        assert guidance == 1 or self.knows(guidance)
        self.calls.append(len(noisy))
        fields = [None] * len(noisy) if known is None else list(known)
        made = torch.stack([self.predicted(x, f) for x, f in zip(noisy, fields, strict=True)])
        if guidance != 1:
            uncond = torch.stack([self.predicted(x, None) for x in noisy])
            made = uncond + guidance * (made - uncond)
        return (noisy - made) / time[:, None, None, None]

    def clean(
        self, x: Tensor, sigma: float, known: Tensor | None, gsd: float, guidance: float = 1.0
    ) -> Tensor:
        flow = Precondition(lambda x_t, t: self.velocity(x_t, t, known, gsd, guidance))
        return flow(x, sigma)


def toyed(model: Model, taught: tuple[float, float] | None = None) -> tuple[Model, Toy]:
    """The model with the toy as its denoiser."""
    toy = Toy(taught=taught)
    return replace(model, denoiser=toy), toy  # type: ignore[arg-type]


def grid_of(height: int, width: int, row: int = 0, col: int = 0) -> PixelGrid:
    """A grid of EPSG:32610, ``row`` and ``col`` pixels from the lattice's origin."""
    grid = PixelGrid(GeoBox((height, width), UTM, "EPSG:32610"), 0, 0)
    return grid.crop(Window(row, col, height, width))
