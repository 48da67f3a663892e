"""What runs in a worker of a cluster: the painter of a mosaic, opened at its first chart."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.errors import ModelError
from geodiff.geo.grid import PixelGrid
from geodiff.geo.provenance import is_remote
from geodiff.jobs.mosaic.catalogue import Images
from geodiff.jobs.mosaic.charts import Chart
from geodiff.jobs.mosaic.painting import Painter
from geodiff.jobs.mosaic.sources import open_source
from geodiff.jobs.request import SynthesizeRequest
from geodiff.models.bundle import Model
from geodiff.models.hub import is_hub
from geodiff.window import Window

Tiles = list[tuple[Window, NDArray[np.uint8]]]

MODELS = 2
"""Models that a worker process keeps, the last ones used."""

_opened: list[tuple[Task, Painter]] = []  # of this worker process: at most one
_models: dict[tuple[str, str, str], Model] = {}  # by hash, device and precision; last used last
_opening = threading.Lock()


@dataclass(frozen=True)
class Task:
    """What a worker needs to know, besides the chart."""

    request: SynthesizeRequest
    grid: PixelGrid
    model_hash: str
    imagery: Images | None = None  # what a catalogue gave: no worker asks it again

    def elsewhere(self) -> Task:
        """The same with absolute paths, for processes with another working directory.

        Polygons go along as they are now: all charts see the same, and no worker needs their file.
        """
        given = {name: getattr(self.request, name) for name in ("reference", "embeddings", "model")}
        local: dict[str, Any] = {
            name: os.path.abspath(path)
            for name, path in given.items()
            if isinstance(path, str | Path) and not is_remote(str(path)) and not is_hub(path)
        }
        if self.request.drawing is not None:
            local["layout_file"] = self.request.drawing.polygons
        return replace(self, request=replace(self.request, **local))

    @property
    def threads(self) -> int | None:
        """Torch threads a worker: the cores of this job shared out; None on a foreign cluster."""
        count = self.request.workers
        return max(1, cores() // count) if count else None


def cores() -> int:
    """Cores that this process may use: batch systems and containers may give it a part of all."""
    usable = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(usable(0)) if usable else os.cpu_count() or 1


@dataclass(frozen=True)
class Painted:
    """What comes back from a worker."""

    tiles: Tiles
    kind: str  # of device and precision, on which the bits depend


def paint_remote(task: Task, chart: Chart) -> Painted:
    """Runs in a worker: one chart's pixels. A process loads a model once, also for other jobs."""
    painter, tiles = painter_here(task), []
    for _ in painter.paint(chart, lambda window, pixels: tiles.append((window, pixels))):
        pass
    model = painter.model
    return Painted(tiles, f"{model.device.type}, {'bf16' if model.denoiser.bf16 else 'fp32'}")


def painter_here(task: Task) -> Painter:
    """The painter of a mosaic in this process, opened at its first chart."""
    from geodiff.jobs.synthesize import painter_of

    with _opening:
        if not _opened or _opened[0][0] != task:
            if task.threads is not None:
                torch.set_num_threads(task.threads)
            request = task.request
            model = model_here(request.model, request.device, request.precision, task.model_hash)
            source = open_source(task.request, model, task.grid, task.imagery)
            _opened[:] = [(task, painter_of(task.request, model, task.grid, source))]
        return _opened[0][1]


def model_here(path: str | None, device: str, precision: str, wanted: str) -> Model:
    """The model of the hash ``wanted`` in this process, kept from a former job or loaded.

    Raises ModelError where another one lies at its place.
    """
    key = wanted, device, precision
    model = _models.pop(key, None) or Model.load(path, device, precision)
    if model.hash != wanted:
        raise ModelError(
            f"another model is here ({model.name} {model.hash[:12]}, wanted "
            f"{wanted[:12]}): install the same one on all workers"
        )
    _models[key] = model
    while len(_models) > MODELS:
        del _models[next(iter(_models))]
    return model
