"""A STAC search or a file of cells -> a synthetic mosaic of each, as a static STAC collection."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geodiff.diffusion.noise import NOISE_VERSION
from geodiff.errors import GeodiffError
from geodiff.geo.provenance import software_version
from geodiff.geo.static_collection import COLLECTION, ITEMS
from geodiff.geo.store import Store, clear, open_store, sole
from geodiff.jobs.batches.ledger import Ledger, review
from geodiff.jobs.batches.memory import Memory
from geodiff.jobs.batches.plan import BatchPlan, make_plan
from geodiff.jobs.batches.publication import (
    Catalogue,
    api_of,
    model_name,
    publish_all,
    put_model,
    put_virtual,
)
from geodiff.jobs.batches.report import REPORT, Report
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.batches.sharing import Outcome, Queue, renamed, work
from geodiff.jobs.batches.units import Units, find_units
from geodiff.jobs.batches.work import Job
from geodiff.jobs.mosaic.check import check_model
from geodiff.jobs.mosaic.worker import model_here
from geodiff.jobs.request import CHART
from geodiff.models.bundle import Model, digest
from geodiff.models.locate import locate
from geodiff.steps import Step, drain

PROFILE = BatchRequest.cog_profile
"""The profile of COGs that units have unless another is asked for."""

__all__ = ["BatchPlan", "BatchRequest", "BatchResult", "batch", "plan", "steps"]


@dataclass(frozen=True)
class BatchResult:
    """What a batch that came to its end leaves behind."""

    out_dir: str
    report: Report
    virtual: tuple[str, ...]  # names of virtual rasters
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every unit is done, and published where that was asked for."""
        return not self.report.counts["failed"] and not self.report.unpublished

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts; the report has a row for every unit."""
        place = self.out_dir.rstrip("/")
        return {
            "out_dir": self.out_dir,
            "collection": f"{place}/{COLLECTION}",
            "report": f"{place}/{REPORT}",
            "virtual": [f"{place}/{name}" for name in self.virtual],
            **self.report.counts,
            "published": len(self.report.published),
            "published_before": len(self.report.held),
            "unpublished": self.report.unpublished,
            "failures": self.report.failures,
            "seconds": round(self.seconds, 2),
        }


def batch(out_dir: str, **options: Any) -> BatchResult:
    """Make all units into ``out_dir``; ``options`` are the fields of BatchRequest."""
    return drain(steps(BatchRequest(out_dir=str(out_dir), **options)))


def steps(request: BatchRequest) -> Generator[Step, None, BatchResult]:
    """Run the whole batch, yielding progress; the generator's value is the result.

    Stopped or killed at any moment, it leaves a catalogue of the units that are finished, and the
    same request makes the others. Raises UsageError and DataError where there is nothing to make or
    another request's units lie there, GeodiffError for a unit that fails with ``on_error`` fail.
    """
    began, started = time.perf_counter(), now()
    yield Step("load", 0, 1)
    check_model(request.model)
    store = open_store(request.out_dir)
    api, notes = api_of(request)
    units = find_units(request)
    model = model_of(request)
    job = job_of(request, model)
    yield Step("load", 1, 1, notes=notes + units.notes)
    with sole(request.desk):
        memory = Memory() if request.recheck else Memory.of(store)
        ledger = yield from review(store, job, units.units, request.overwrite, memory)
        report = Report.of(units.units, ledger.done, units.unusable, request.command, started)
        catalogue = Catalogue(store, request.collection_name, words_of(request), memory)
        for item in ledger.done.values():
            catalogue.add(item)
        catalogue.save(report)  # where nothing can be written, that shows now
        put_model(store, model, job.model_item, request.desk)
        try:
            yield from make_all(job, units, ledger, catalogue, report)
        finally:
            catalogue.save(report)
        virtual = put_virtual(store, catalogue) if request.vrt else []
        # Charts of units that failed are for the next attempt.
        clear(request.desk, job.painting if report.counts["failed"] else None)
        try:
            if api is not None:
                yield from publish_all(request, api, catalogue, report)
            report.finished = now()
        finally:
            catalogue.save(report)
    return BatchResult(request.out_dir, report, tuple(virtual), time.perf_counter() - began)


def make_all(
    job: Job, units: Units, ledger: Ledger, catalogue: Catalogue, report: Report
) -> Generator[Step, None, None]:
    """Make the units that are missing, and enter what comes of them.

    Raises GeodiffError for a unit that fails with ``on_error`` fail, and for workers of two kinds.
    """
    missing = [unit for unit in units.units if unit.name not in ledger.done]
    kinds, notes = set(ledger.kinds), set[str]()
    done, total = len(ledger.done), len(units.units)
    if units.unusable and job.request.on_error == "fail":
        raise GeodiffError(f"{units.unusable[0].name}: {units.unusable[0].reason}")
    yield Step("twins", done, total)
    for event in work(job, Queue(missing, job.request.retries)):
        if isinstance(event, Step):
            fresh = tuple(note for note in event.notes if note not in notes)
            notes |= set(fresh)
            yield renamed(event, done, total, fresh)
            continue
        report.note(event)
        if event.made is not None:
            check_arrived(catalogue.store, event)
            catalogue.add(event.made.item)
            checksum = event.made.item["assets"]["data"]["file:checksum"]
            catalogue.memory.learn(f"{ITEMS}/{event.unit.name}.tif", event.made.mark, checksum)
            kinds.add(event.made.kind)
            check_kinds(kinds)
        elif job.request.on_error == "fail":
            raise GeodiffError(f"{event.unit.name} ({event.unit.source!r}): {event.reason}")
        done += 1
        catalogue.save(report, hurry=False)
        yield Step("twins", done, total)


def plan(request: BatchRequest) -> BatchPlan:
    """What the request will make and cost; writes nothing."""
    check_model(request.model)
    units, model = find_units(request), model_of(request)
    return make_plan(request, job_of(request, model), model, units)


def model_of(request: BatchRequest) -> Model:
    """The model of the request, which units made in this process find again."""
    # On a cluster the workers have the devices.
    device = "cpu" if request.workers or request.scheduler else request.device
    folder = locate(request.model)
    return model_here(request.model, device, request.precision, digest(folder))


def job_of(request: BatchRequest, model: Model) -> Job:
    """What all units have in common: above all, what their pixels depend on."""
    facts = {
        "by": request.way,
        "model": model.hash,
        "seed": request.seed,
        "mode": request.mode,
        "steps": request.steps,
        "guidance": request.guidance,
        "chart": request.chart or CHART,
        "crs": request.crs,
        "res": request.res,
        "bands": request.bands,
        "scale": request.scale,
        "fill": request.fill or "nearest",
        "noise": NOISE_VERSION,
        "geodiff": software_version(),
    }
    if (cog := [request.cog_profile, *request.co]) != [PROFILE]:  # some lose a little of the pixels
        facts["cog"] = cog
    if request.way == "cell" and (catalogue := request.catalogue) is not None:
        facts |= {"goes_by": catalogue.words, "datetime": request.datetime,
                  "order": request.stac_order}  # fmt: skip
    return Job(request, facts, model.name, model.hash, model_name(model))


def words_of(request: BatchRequest) -> str:
    """What the units go by, in words."""
    if request.items is not None:
        return "items of a file"
    catalogue = request.catalogue
    return "the model's prior" if catalogue is None else catalogue.words


def check_arrived(store: Store, outcome: Outcome) -> None:
    """Raises GeodiffError where a worker has another folder under the name of --out-dir."""
    path = store.local(f"{ITEMS}/{outcome.unit.name}.json")
    if path is not None and not path.is_file():
        raise GeodiffError(
            f"{outcome.unit.name} was made on a worker, but is not in {store.where}: the workers "
            "need that folder under the same path, or give an address such as s3://bucket/folder"
        )


def check_kinds(kinds: set[str]) -> None:
    """Raises GeodiffError for units of different devices or precisions, which would not join."""
    if len(kinds) > 1:
        raise GeodiffError(
            f"units are of different kinds ({'; '.join(sorted(kinds))}), so their pixels would not "
            "join: give --device and --precision, or use workers of one kind"
        )


def now() -> str:
    """The time, to the second, as STAC writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
