"""Charts painted by many processes: retry-safe tasks on a Dask cluster, one writer here."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from geodiff.errors import GeodiffError, UsageError
from geodiff.geo.parts import Parts
from geodiff.jobs.mosaic.charts import Chart
from geodiff.jobs.mosaic.crew import Crew, hired
from geodiff.jobs.mosaic.worker import Painted, Task, paint_remote
from geodiff.jobs.plan import Plan
from geodiff.steps import Step

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")

AHEAD = 2
"""Tasks in flight for each worker thread: keeps workers busy and the writer's memory bounded."""

ANSWER = 10
"""Seconds in which a scheduler has to answer."""

PATIENCE = 60.0
"""Seconds to wait for a first worker, and between two looks at a silent cluster."""

QUIET: dict[str, Any] = {
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},  # else 8787, once a machine
    "memory_limit": 0,
}
"""A cluster of this machine without a dashboard, beside which others may run."""


class Shared(Protocol):
    """A request whose work is shared out."""

    @property
    def workers(self) -> int:
        """Processes to start on this machine."""

    @property
    def scheduler(self) -> str | None:
        """Address of a cluster that runs already."""


def paint_on_cluster(task: Task, plan: Plan, parts: Parts) -> Iterator[Step]:
    """Paint what is not there yet on a cluster, writing here as charts come in.

    A worker that dies costs its charts in progress, which others paint again. Raises GeodiffError
    where the cluster is lost, has no worker, or mixes kinds of devices.
    """
    waiting = [chart for chart in reversed(plan.charts) if chart.name not in parts.done]
    if not waiting:
        yield painted(plan, parts)
        return
    yield replace(painted(plan, parts), notes=hired(task.request.workers))
    running: dict[Future[Painted], Chart] = {}
    sent = task.elsewhere()
    kinds: set[str] = set()
    with connect(task.request) as client:
        crew = Crew(client)
        while waiting or running:
            while waiting and len(running) < AHEAD * crew.threads():
                chart = waiting.pop()
                future = client.submit(paint_remote, sent, chart, pure=False, retries=2)
                running[future] = chart
            for future in finished(client, running):
                chart = running.pop(future)
                result = result_of(future, chart)
                kinds.add(result.kind)
                if len(kinds) > 1:
                    raise GeodiffError(
                        f"the workers differ ({'; '.join(sorted(kinds))}), so their charts would "
                        "not join: give --device and --precision, or use workers of one kind"
                    )
                with parts.part(chart.name, chart.pixels(plan.grid, plan.factor)) as raster:
                    for window, pixels in result.tiles:
                        raster.write(window, pixels)
                del result
                yield painted(plan, parts)
            if notes := crew.notes():
                yield replace(painted(plan, parts), notes=notes)


def painted(plan: Plan, parts: Parts) -> Step:
    """How much is done, in solver steps of charts as when one process paints."""
    steps = plan.sampling.steps
    return Step("paint", len(parts.done) * steps, len(plan.charts) * steps)


def finished(client: Client, running: Iterable[Future[T]]) -> list[Future[T]]:
    """Futures that have come to an end, at least one unless nothing happens for PATIENCE."""
    from distributed import wait

    try:
        done = wait(list(running), timeout=PATIENCE, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return []
    except CancelledError:  # the scheduler has forgotten some
        return [future for future in running if future.done()]
    return list(done)


def result_of(future: Future[Painted], chart: Chart) -> Painted:
    """The pixels of a finished task. Raises GeodiffError for what went wrong in it."""
    from distributed import KilledWorker

    if future.status == "finished":
        result: Painted = future.result()
        return result
    if future.status != "error":
        raise GeodiffError(
            f"the Dask cluster was lost while it painted the chart at latent {chart.name}: start "
            "it again and give the same command, which goes on"
        )
    error = future.exception()
    if isinstance(error, KilledWorker):
        raise GeodiffError(
            f"the chart at latent {chart.name} brought down {error.allowed_failures + 1} workers "
            "in a row (out of memory?): give the workers more memory or a smaller --chart"
        ) from error
    if isinstance(error, GeodiffError):
        raise type(error)(f"on a worker: {error}") from error
    raise GeodiffError(f"a worker failed: {type(error).__name__}: {error}") from error


@contextmanager
def connect(request: Shared) -> Iterator[Client]:
    """A client of the scheduler that the request names, or of a cluster of its own processes."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(
            "--workers and --scheduler need Dask: pip install 'geodiff-mosaic[cluster]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.comm.timeouts.connect": f"{ANSWER}s"}):
        if request.scheduler:
            try:
                client = Client(request.scheduler, timeout=ANSWER)
            except (OSError, ValueError, TimeoutError) as error:
                raise GeodiffError(
                    f"no Dask scheduler answers at {request.scheduler}: check the address"
                ) from error
            with client:
                yield attended(client)
            return
        options = {"n_workers": request.workers, "threads_per_worker": 1, **QUIET}
        try:
            with deaf_to_ctrl_c():
                cluster = LocalCluster(silence_logs=logging.CRITICAL, **options)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise GeodiffError(
                f"{request.workers} worker processes could not be started ({error}); a script "
                "needs an `if __name__ == '__main__':` around its call"
            ) from error
        with cluster, Client(cluster) as client:
            yield attended(client)


def attended(client: Client) -> Client:
    """The client, once it has a worker. Raises GeodiffError if none joins."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise GeodiffError(
            f"no worker joined the Dask cluster in {PATIENCE:.0f} s: start some"
        ) from error
    return client


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started here leave Ctrl-C to this one: they inherit that it is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
