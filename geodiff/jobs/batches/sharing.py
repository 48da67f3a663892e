"""Units worked off here or by the processes of a cluster, each tried again where it fails."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodiff.errors import GeodiffError, ModelError, UsageError
from geodiff.jobs.batches.units import Unit, one_line
from geodiff.jobs.batches.work import Job, Made, make, make_remotely
from geodiff.jobs.mosaic.cluster import connect, finished
from geodiff.jobs.mosaic.crew import Crew, hired
from geodiff.steps import Step

if TYPE_CHECKING:
    from distributed import Future

log = logging.getLogger(__name__)

DELAY = 2.0
"""Seconds before a unit is tried again; each further attempt waits twice as long."""


@dataclass(frozen=True)
class Outcome:
    """What came of a unit: what was made, or in one line why not."""

    unit: Unit
    attempts: int
    made: Made | None = None
    reason: str = ""


class Queue:
    """Units that wait to be tried. One that failed comes again after the others, and after a while.

    ``retries`` is how often a unit is tried again.
    """

    def __init__(self, units: Sequence[Unit], retries: int) -> None:
        self.retries = retries
        self._waiting: deque[tuple[float, int, Unit]] = deque((0.0, 1, unit) for unit in units)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> tuple[int, Unit] | None:
        """The next unit that may be tried, and which attempt it is; None if all have to wait."""
        now = time.monotonic()
        for place, (ready, attempt, unit) in enumerate(self._waiting):
            if ready <= now:
                del self._waiting[place]
                return attempt, unit
        return None

    def rest(self) -> float:
        """Seconds until a unit may be tried."""
        soonest = min((ready for ready, _, _ in self._waiting), default=0.0)
        return max(0.0, soonest - time.monotonic())

    def failed(self, unit: Unit, attempt: int, error: BaseException) -> Outcome | None:
        """Take a unit that failed back; what came of it where it is not tried again.

        What is wrong with the request itself is not tried again. Raises ModelError, which befalls
        all units.
        """
        if isinstance(error, ModelError):
            raise error
        reason = reason_of(error)
        log.info("%s failed at attempt %d: %s", unit.name, attempt, reason)
        if attempt > self.retries or isinstance(error, UsageError):
            return Outcome(unit, attempt, reason=reason)
        ready = time.monotonic() + DELAY * 2 ** (attempt - 1)
        self._waiting.append((ready, attempt + 1, unit))
        return None


def reason_of(error: BaseException) -> str:
    """Why a unit failed, in one line."""
    expected = isinstance(error, GeodiffError)
    return one_line(error) if expected else f"unexpected {type(error).__name__}: {one_line(error)}"


def work_here(job: Job, queue: Queue) -> Iterator[Step | Outcome]:
    """Units one after the other in this process, and the steps of each."""
    while queue:
        if (taken := queue.take()) is None:
            time.sleep(queue.rest())
            continue
        attempt, unit = taken
        try:
            made = yield from make(job, unit)
        except Exception as error:
            log.debug("%s failed", unit.name, exc_info=True)
            if (outcome := queue.failed(unit, attempt, error)) is not None:
                yield outcome
        else:
            yield Outcome(unit, attempt, made)


def work_on_cluster(job: Job, queue: Queue) -> Iterator[Step | Outcome]:
    """Whole units as tasks of a cluster, one for each worker thread at a time.

    A worker that dies costs its units, which others make. Raises GeodiffError where the cluster is
    lost or has no worker.
    """
    running: dict[Future[Made | Exception], tuple[int, Unit]] = {}
    sent = job.elsewhere()
    yield Step("twins", 0, 1, notes=hired(job.request.workers))
    with connect(job.request) as client:
        crew = Crew(client)
        while queue or running:
            while len(running) < crew.threads() and (taken := queue.take()) is not None:
                future = client.submit(make_remotely, sent, taken[1], pure=False)
                running[future] = taken
            if not running:
                time.sleep(queue.rest())
                continue
            for future in finished(client, running):
                attempt, unit = running.pop(future)
                if (outcome := outcome_of(future, unit, attempt, queue)) is not None:
                    yield outcome
            if notes := crew.notes():
                yield Step("twins", 0, 1, notes=notes)


def outcome_of(
    future: Future[Made | Exception], unit: Unit, attempt: int, queue: Queue
) -> Outcome | None:
    """What came of a task; None where its unit is tried again."""
    from distributed import KilledWorker

    if future.status == "finished":
        made: Made | Exception = future.result()
        if isinstance(made, Made):
            return Outcome(unit, attempt, made)
        return queue.failed(unit, attempt, made)
    if future.status != "error":
        raise GeodiffError(
            f"the Dask cluster was lost while it made {unit.name}: start it again and give the "
            "same command, which goes on"
        )
    error = future.exception()
    if isinstance(error, KilledWorker):
        deaths = error.allowed_failures + 1
        return Outcome(unit, attempt, reason=f"it brought down {deaths} workers in a row (memory?)")
    return queue.failed(unit, attempt, error or GeodiffError("a worker failed"))


def work(job: Job, queue: Queue) -> Generator[Step | Outcome, None, None]:
    """Units worked off as the request wants them to be; no worker is started for none."""
    if not queue:
        return
    shared = job.request.workers or job.request.scheduler
    yield from work_on_cluster(job, queue) if shared else work_here(job, queue)


def renamed(step: Step, done: int, total: int, notes: tuple[str, ...]) -> Step:
    """A step within a unit as progress of all units; the percentage is that of its stage."""
    share = round(100 * step.done / max(1, step.total))
    return Step("twins", done, total, {step.stage: share}, notes)
