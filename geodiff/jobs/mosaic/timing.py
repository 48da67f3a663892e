"""How long painting takes on this machine: counts of work, times one timed call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from geodiff.diffusion import in_order, lanes_on
from geodiff.jobs.mosaic.charts import Chart
from geodiff.jobs.mosaic.decoding import count_blended, decode_batch, is_blended
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.models.bundle import Model
from geodiff.window import Window

START_SECONDS = 2
"""Loading the shipped model."""

DECODING = 50
"""Windows of the shipped denoiser that take as long as decoding a megapixel, halos included."""

STEERING = 4
"""Windows that take as long as steering a megapixel at one noise level (benchmarks/speed.py)."""


def alike(sampling: Sampling, chart: Chart) -> Chart:
    """The chart nearest to the origin that takes the same work, see ``Sampling.alike``."""
    canvas, core = sampling.alike(chart.canvas), chart.core
    row, col = core.row - chart.canvas.row, core.col - chart.canvas.col
    return Chart(Window(canvas.row + row, canvas.col + col, core.height, core.width), canvas)


def painting_seconds(
    model: Model, sampling: Sampling, kinds: Mapping[Chart, int], megapixels: float
) -> float:
    """Time of so many charts of each kind; times a call of the networks."""
    work = sum(count * sampling.computed(chart.canvas) for chart, count in kinds.items())
    blended = is_blended(model, sampling)
    decoding = 0.0
    if blended:
        decoding = blending_seconds(model, sampling) * sum(
            count * count_blended(model, sampling, chart.canvas, chart.core)
            for chart, count in kinds.items()
        )
    total = work + besides(sampling, megapixels, exact=not blended)
    return START_SECONDS + decoding + total * seconds_per_window(model, sampling)


def besides(sampling: Sampling, megapixels: float, exact: bool) -> float:
    """What steering and ``exact`` decoding take, in network evaluations of one window."""
    low, high = sampling.steered
    steered = sum(low < sigma <= high for sigma in sampling.levels) if sampling.steer else 0
    return (DECODING * exact + STEERING * steered) * megapixels


def blending_seconds(model: Model, sampling: Sampling) -> float:
    """Time of decoding one of the windows that are blended, in a call of the job's batch size."""
    batch, side = decode_batch(model, sampling), sampling.size
    latents = torch.zeros((batch, model.codec.channels, side, side), device=model.device)
    return quickest(lambda: model.codec.render(latents).cpu()) / batch


@torch.no_grad()
def seconds_per_window(model: Model, sampling: Sampling) -> float:
    """Time of one window, here and now, in as many network calls at a time as a job makes."""
    shape = (sampling.batch, model.codec.channels, sampling.size, sampling.size)
    field = torch.zeros(sampling.batch, model.dim, sampling.size, sampling.size)
    noisy = torch.zeros(shape)
    lanes = lanes_on(model.device, sampling.batch)

    def call(lane: int) -> torch.Tensor:
        return model.denoiser.clean(noisy, 1.0, field, model.gsd)

    return quickest(lambda: list(in_order(call, range(lanes), lanes))) / (lanes * sampling.batch)


def quickest(call: Callable[[], object]) -> float:
    """Seconds of the quicker of two calls: the first one may build what the second one finds."""
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)
