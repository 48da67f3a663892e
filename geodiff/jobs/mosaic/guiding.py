"""The network bound to the fields of some windows, guided as a mode wants it."""

from __future__ import annotations

from torch import Tensor

from geodiff.diffusion import Denoise, Guided, Precondition, Switched
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.models.bundle import Model


def guided(model: Model, sampling: Sampling, field: Tensor, gsd: float) -> Denoise:
    """A Denoise of windows (n, channel, row, col) under ``field`` (n, feature, row, col).

    ``gsd`` in metres per pixel. Calls the network as often as ``Sampling.evaluations`` counts.
    """

    def velocity(known: Tensor | None, guidance: float = 1.0) -> Denoise:
        return Precondition(lambda x, t: model.denoiser.velocity(x, t, known, gsd, guidance))

    if sampling.taught:
        return Switched(velocity(field, sampling.guidance), velocity(field), sampling.guided)
    return Guided(velocity(field), velocity(None), sampling.guidance, sampling.guided)
