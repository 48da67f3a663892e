"""Box and source -> a georeferenced synthetic mosaic, its tags, its STAC item and its preview."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geodiff.diffusion.noise import NOISE_VERSION
from geodiff.geo import cog, stac
from geodiff.geo.grid import PixelGrid
from geodiff.geo.parts import Parts
from geodiff.geo.preview import preview
from geodiff.geo.provenance import Provenance, software_version
from geodiff.geo.saved import SavedEmbeddings
from geodiff.geo.target import check_output, item_path
from geodiff.geo.writing import WRITE_ERRORS, write_failure
from geodiff.jobs.mosaic.catalogue import Images
from geodiff.jobs.mosaic.check import check_request
from geodiff.jobs.mosaic.cluster import paint_on_cluster
from geodiff.jobs.mosaic.guides import Guide, HeldGuide, PriorGuide, RasterGuide, SavedGuide
from geodiff.jobs.mosaic.painting import Painter, paint_charts
from geodiff.jobs.mosaic.room import check_room
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.mosaic.sources import Source, open_source
from geodiff.jobs.mosaic.worker import Task
from geodiff.jobs.plan import Plan, make_plan, target_grid
from geodiff.jobs.request import SynthesizeRequest
from geodiff.models.bundle import Model
from geodiff.steps import Step, drain


@dataclass(frozen=True)
class Result:
    """What a finished run leaves behind."""

    path: str
    item: str
    preview: str | None
    plan: Plan
    provenance: Provenance
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            **self.plan.as_dict(),
            "path": self.path,
            "item": self.item,
            "preview": self.preview,
            "seed": self.provenance.seed,
            "model_hash": self.provenance.model_hash,
            "seconds": round(self.seconds, 2),
        }


def synthesize(out: str | Path, **options: Any) -> Result:
    """Write a synthetic mosaic to ``out``; ``options`` are the fields of SynthesizeRequest.

    ``model`` may also be a loaded Model, which is then used as it is, on its device; the processes
    of a cluster read its directory. The call is kept as the command of the mosaic's provenance.
    """
    model = options.get("model")
    loaded = model if isinstance(model, Model) else None
    if loaded is not None:
        options["model"] = str(loaded.path)
    options.setdefault("command", call_of(out, options))
    return drain(steps(SynthesizeRequest(out=str(out), **options), loaded))


def call_of(out: str | Path, options: dict[str, Any]) -> str:
    """The call of ``synthesize`` as Python text; of what is no plain value only the type."""
    plain = (str, int, float, tuple, list, type(None))
    given = {"": str(out), **options}
    told = [
        (f"{name}=" if name else "")
        + (repr(value) if isinstance(value, plain) else f"<{type(value).__name__}>")
        for name, value in given.items()
    ]
    return f"geodiff.synthesize({', '.join(told)})"


def plan(request: SynthesizeRequest) -> Plan:
    """What the request will give and cost; writes nothing."""
    check_request(request)
    model = Model.load(request.model, request.device, request.precision)
    grid = target_grid(request, model)
    return make_plan(request, model, grid, open_source(request, model, grid))


def steps(
    request: SynthesizeRequest, model: Model | None = None, imagery: Images | None = None
) -> Generator[Step, None, Result]:
    """Run the whole job, yielding progress; the generator's value is the result.

    ``model`` is that of the request where it is loaded already, ``imagery`` what its catalogue gave
    where that was asked before.
    Stopped or killed, it leaves the finished charts of a world layout behind, and the same request
    goes on with them.
    """
    began = time.perf_counter()
    check_request(request)
    yield Step("load", 0, 1)
    if model is None:
        # On a foreign cluster the workers have the devices; here only plans are made.
        device = "cpu" if request.scheduler else request.device
        model = Model.load(request.model, device, request.precision)
    yield Step("load", 1, 1)
    grid = target_grid(request, model)
    source = open_source(request, model, grid, imagery)
    plan = make_plan(request, model, grid, source)
    yield Step("plan", 1, 1, notes=plan.notes)
    check_room(plan, request.out)
    provenance = describe(request, model, plan, source)
    facts = facts_of(request, model, plan, source)
    with Parts(request.out, grid, facts, provenance.created, request.restart) as parts:
        yield from parts.review()
        # Again, under the lock: another run may have finished in the meantime.
        check_output(request.out, request.overwrite or parts.published, request.sources)
        provenance = replace(provenance, created=parts.begun)
        try:
            yield from paint(request, model, plan, source, parts)
            item = yield from publish(request, plan, provenance, parts)
        except BaseException as error:
            # One canvas: nothing to go on with, unless it was stopped amid taking its names.
            if len(plan.charts) == 1 and (isinstance(error, Exception) or not parts.published):
                parts.remove()
            raise
        parts.remove()
    seconds = time.perf_counter() - began
    return Result(request.out, str(item), request.preview, plan, provenance, seconds)


def paint(
    request: SynthesizeRequest, model: Model, plan: Plan, source: Source, parts: Parts
) -> Iterator[Step]:
    """Paint the charts that are not there yet: here, or on a cluster."""
    if request.workers or request.scheduler:
        return paint_on_cluster(Task(request, plan.grid, model.hash, source.imagery), plan, parts)
    return paint_charts(painter_of(request, model, plan.grid, source), plan.charts, parts)


def painter_of(
    request: SynthesizeRequest, model: Model, grid: PixelGrid, source: Source
) -> Painter:
    """What paints the charts of the request."""
    sampling = Sampling.of(request.mode, model, request.steps, request.guidance, request.batch)
    gsd = request.gsd or (source.gsd if grid.crs is None else None)
    return Painter(model, grid, sampling, guide_of(model, source, gsd), request.seed, gsd)


def guide_of(model: Model, source: Source, gsd: float | None) -> Guide:
    """The source, ready to be asked for embeddings."""
    if source.reference is not None:
        return RasterGuide(model, source.reference)
    if source.imagery is not None:
        return RasterGuide(model, source.imagery.source)
    if isinstance(source.saved, SavedEmbeddings):
        return SavedGuide(source.saved)
    if source.saved is not None:
        return HeldGuide(source.saved.filled())
    return PriorGuide(model, source.seed, source.condition, gsd)


def describe(request: SynthesizeRequest, model: Model, plan: Plan, source: Source) -> Provenance:
    """Provenance of the mosaic to be."""
    return Provenance(
        model=model.name,
        model_hash=model.hash,
        seed=request.seed,
        source=plan.source,
        mode=request.mode,
        steps=plan.sampling.steps,
        guidance=plan.sampling.guidance,
        noise_version=NOISE_VERSION,
        layout=plan.layout_words,
        command=request.command,
        derived_from=source.derived_from,
        credit=model.credit,
        subject="imagery" if plan.grid.crs is None else "aerial imagery",
    )


def facts_of(
    request: SynthesizeRequest, model: Model, plan: Plan, source: Source
) -> dict[str, Any]:
    """Everything that a pixel depends on: an unfinished mosaic goes on only if all are the same."""
    sampling, grid = plan.sampling, plan.grid
    return {
        "model": model.hash,
        "device": request.device if request.scheduler else model.device.type,
        "precision": "bf16" if model.denoiser.bf16 else "fp32",
        "seed": request.seed,
        "source": source.identity,
        "fill": request.fill or "nearest",
        "gsd": request.gsd,
        "mode": request.mode,
        "steps": sampling.steps,
        "guidance": sampling.guidance,
        "noise": NOISE_VERSION,
        "geodiff": software_version(),
        "crs": str(grid.crs),
        "transform": list(grid.geobox.affine)[:6],
        "window": [grid.row, grid.col, *grid.window.shape],
        "layout": plan.layout_words,
        "charts": len(plan.charts),
    }


def publish(
    request: SynthesizeRequest, plan: Plan, provenance: Provenance, parts: Parts
) -> Generator[Step, None, Path]:
    """COG, preview and STAC item, made and checked first, then put into place; the item's path."""
    out, made = Path(request.out), parts.folder / "mosaic.cog.tif"
    beside = [item_path(out), *([Path(request.preview)] if request.preview else [])]
    new = [path for path in beside if not path.exists()]
    try:
        virtual = parts.assemble(provenance)
        yield from cog.making(virtual, made, request.cog_profile, request.co)
        check_output(out, request.overwrite or parts.published, request.sources)
        parts.publish()
        if request.preview:
            preview(made, request.preview, overwrite=True)
        item = stac.write_item(out, plan.grid, provenance, request.preview, made)
        cog.place(made, out)
    except Exception as error:
        for path in new:  # an item or a preview never stands without its mosaic
            path.unlink(missing_ok=True)
        if isinstance(error, WRITE_ERRORS):
            raise write_failure(out, error) from error
        raise
    return item
