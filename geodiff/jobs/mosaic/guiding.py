"""The network bound to the fields of some windows, guided as a mode wants it."""

from __future__ import annotations

from torch import Tensor

from geodiff.diffusion import Denoise, Guided, Switched
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.models.bundle import Model


def guided(model: Model, sampling: Sampling, field: Tensor, gsd: float) -> Denoise:
    """A Denoise of windows (n, channel, row, col) under ``field`` (n, feature, row, col).

    ``gsd`` in metres per pixel. Calls the network as often as ``Sampling.evaluations`` counts.
    """

    def under(known: Tensor | None, guidance: float = 1.0) -> Denoise:
        return lambda x, sigma: model.denoiser.clean(x, sigma, known, gsd, guidance)

    if sampling.taught:
        return Switched(under(field, sampling.guidance), under(field), sampling.guided)
    return Guided(under(field), under(None), sampling.guidance, sampling.guided)
