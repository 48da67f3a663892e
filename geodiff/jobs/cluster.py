"""Charts painted by many processes: retry-safe tasks on a Dask cluster, one writer here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.errors import GeodiffError, ModelError, UsageError
from geodiff.geo.grid import PixelGrid
from geodiff.geo.journal import Journal
from geodiff.geo.mosaic import WorkingRaster
from geodiff.jobs.charts import Chart
from geodiff.jobs.painting import Painter, settle
from geodiff.jobs.plan import Plan
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.sources import open_source
from geodiff.models.bundle import Model
from geodiff.steps import Step
from geodiff.window import Window

if TYPE_CHECKING:
    from distributed import Client

Tiles = list[tuple[Window, NDArray[np.uint8]]]

AHEAD = 2
"""Tasks in flight for each worker thread: keeps workers busy and the writer's memory bounded."""

_opened: list[tuple[Task, Painter]] = []  # of this worker process: at most one


@dataclass(frozen=True)
class Task:
    """What a worker needs to know, besides the chart."""

    request: SynthesizeRequest
    grid: PixelGrid
    model_hash: str

    @property
    def threads(self) -> int | None:
        """Torch threads a worker: this machine's cores shared out; None on a foreign cluster."""
        count = self.request.workers
        return max(1, (os.cpu_count() or 1) // count) if count else None


def paint_on_cluster(
    task: Task, plan: Plan, raster: WorkingRaster, journal: Journal
) -> Iterator[Step]:
    """Paint what the journal does not yet hold on a cluster, writing here as charts come in.

    A worker that dies costs its charts in progress, which others paint again. Raises GeodiffError
    where the cluster is lost.
    """
    from distributed import as_completed

    waiting = iter([chart for chart in plan.charts if chart.name not in journal.done])
    named: dict[Any, Chart] = {}
    yield painted(plan, journal)
    with connect(task.request) as client:
        shared = client.scatter(task, broadcast=True)
        arriving = as_completed()

        def feed() -> None:
            threads = sum(client.nthreads().values())
            while arriving.count() < AHEAD * max(1, threads):
                chart = next(waiting, None)
                if chart is None:
                    return
                future = client.submit(paint_remote, shared, chart, pure=False, retries=2)
                named[future.key] = chart
                arriving.add(future)

        feed()
        for future in arriving:
            chart = named.pop(future.key)
            for window, pixels in result_of(future, chart):
                raster.write(window, pixels)
            settle(chart, raster, journal)
            del future
            feed()
            yield painted(plan, journal)


def painted(plan: Plan, journal: Journal) -> Step:
    """How much is done, in solver steps of charts as when one process paints."""
    steps = plan.sampling.steps
    return Step("paint", len(journal.done) * steps, len(plan.charts) * steps)


def result_of(future: Any, chart: Chart) -> Tiles:
    """The pixels of a finished task. Raises GeodiffError for what went wrong in it."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        tiles: Tiles = future.result()
    except KilledWorker as error:
        raise GeodiffError(
            f"the chart at latent {chart.name} brought down {error.allowed_failures + 1} workers "
            "in a row (out of memory?): give the workers more memory or a smaller --chart"
        ) from error
    except (FutureCancelledError, OSError) as error:
        raise GeodiffError(f"the Dask cluster was lost: {error}") from error
    return tiles


@contextmanager
def connect(request: SynthesizeRequest) -> Iterator[Client]:
    """A client of the scheduler that the request names, or of a cluster of its own processes."""
    try:
        import dask

        dask.config.set({"logging.distributed": "error"})
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(
            "--workers and --scheduler need Dask: pip install 'geodiff-mosaic[cluster]'"
        ) from error
    if request.scheduler:
        try:
            client = Client(request.scheduler, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise GeodiffError(
                f"no Dask scheduler answers at {request.scheduler}: check the address"
            ) from error
        with client:
            yield client
        return
    options: dict[str, Any] = {"dashboard_address": None, "memory_limit": 0}
    with (
        LocalCluster(n_workers=request.workers, threads_per_worker=1, **options) as cluster,
        Client(cluster) as client,
    ):
        yield client


def paint_remote(task: Task, chart: Chart) -> Tiles:
    """Runs in a worker: one chart's pixels. The model is loaded once a process."""
    tiles: Tiles = []
    for _ in painter(task).paint(chart, lambda window, pixels: tiles.append((window, pixels))):
        pass
    return tiles


def painter(task: Task) -> Painter:
    """The painter of a mosaic in this process, opened at its first chart."""
    from geodiff.jobs.synthesize import painter_of

    if not _opened or _opened[0][0] != task:
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        request = task.request
        model = Model.load(request.model, request.device, request.precision)
        if model.hash != task.model_hash:
            raise ModelError(
                f"a worker has another model ({model.name} {model.hash[:12]}, wanted "
                f"{task.model_hash[:12]}): install the same one on all workers"
            )
        source = open_source(request, model, task.grid)
        _opened[:] = [(task, painter_of(request, model, task.grid, source))]
    return _opened[0][1]
