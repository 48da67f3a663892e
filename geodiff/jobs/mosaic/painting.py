"""One chart: embeddings, noise, field, denoising, decoding; and the loop over many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.geo.grid import PixelGrid
from geodiff.geo.parts import Parts
from geodiff.jobs.mosaic.charts import Chart
from geodiff.jobs.mosaic.decoding import count_tiles, decode
from geodiff.jobs.mosaic.guides import Guide
from geodiff.jobs.mosaic.sampling import Sampling, conditions, denoise
from geodiff.models.bundle import Model
from geodiff.steps import Step
from geodiff.window import Window

Put = Callable[[Window, NDArray[np.uint8]], None]
"""Takes decoded pixels (3, row, col) of a window of pixels on the lattice."""


@dataclass(frozen=True)
class Painter:
    """Everything that turns a chart into pixels; a pure function of the chart."""

    model: Model
    grid: PixelGrid
    sampling: Sampling
    guide: Guide
    seed: int
    gsd: float | None  # metres per pixel; None: the grid's own, at each chart's middle

    def paint(self, chart: Chart, put: Put) -> Iterator[Step]:
        """Paint a chart and hand its pixels to ``put``, yielding the steps of its stages."""
        model, factor = self.model, self.model.codec.factor
        part = chart.canvas.zoom_in(factor)
        embeddings = yield from self.guide.embeddings(self.grid, part)
        known = conditions(model, self.sampling, embeddings, self.grid, chart.canvas)
        gsd = self.gsd or self.grid.crop(chart.core.zoom_in(factor)).gsd or model.gsd
        yield Step("paint", 0, self.sampling.steps)
        latents = torch.empty(0)
        states = denoise(model, self.sampling, known, chart.canvas, gsd, self.seed)
        for done, state in enumerate(states, start=1):
            latents = state
            yield Step("paint", done, self.sampling.steps)
        core = self.wanted(chart)
        tiles = decode(model, self.sampling, latents, chart.canvas, core)
        for done, (window, pixels) in enumerate(tiles, start=1):
            put(window, pixels)
            yield Step("decode", done, count_tiles(core))

    def pixels(self, chart: Chart) -> Window:
        """The pixels of the box that the chart gives, on the lattice."""
        return chart.pixels(self.grid, self.model.codec.factor)

    def wanted(self, chart: Chart) -> Window:
        """The part of the core that the box needs."""
        common = self.grid.latents(self.model.codec.factor).intersect(chart.core)
        assert common is not None  # charts are chosen to meet the box
        return common


def paint_charts(painter: Painter, charts: Sequence[Chart], parts: Parts) -> Iterator[Step]:
    """Paint what is not there yet, here and one by one."""
    for chart in charts:
        if chart.name not in parts.done:
            with parts.part(chart.name, painter.pixels(chart)) as raster:
                steps = painter.paint(chart, raster.write)
                yield from among(steps, len(parts.done), len(charts))


def among(steps: Iterator[Step], before: int, total: int) -> Iterator[Step]:
    """Steps of one chart as a part of ``total``; of several charts only the painting is shown."""
    for step in steps:
        if total == 1:
            yield step
        elif step.stage == "paint":
            done = before * step.total + step.done
            yield replace(step, done=done, total=total * step.total)
