"""Box and source -> a georeferenced synthetic mosaic, its tags, its STAC item and its preview."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geodiff.diffusion.noise import NOISE_VERSION
from geodiff.geo import cog, stac
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.geo.mosaic import WorkingRaster
from geodiff.geo.preview import preview
from geodiff.geo.provenance import Provenance
from geodiff.geo.raster import Reference
from geodiff.jobs.check import check_request
from geodiff.jobs.embed import embed_steps
from geodiff.jobs.imagine import imagine
from geodiff.jobs.plan import Plan, check_room, make_plan, target_grid
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.sampling import conditions, denoise
from geodiff.jobs.sources import open_embeddings, open_reference
from geodiff.models.bundle import Model
from geodiff.steps import Step, drain

DECODE = 128
"""Latents a side of the tiles that are decoded at once (1,024 px at factor 8)."""


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


@dataclass(frozen=True)
class Source:
    """What guides a mosaic, opened but not yet embedded."""

    reference: Reference | None
    saved: EmbeddingGrid | None
    words: str
    coverage: float | None


def synthesize(out: str | Path, **options: Any) -> Result:
    """Write a synthetic mosaic to ``out``; ``options`` are the fields of SynthesizeRequest.

    ``model`` may also be a loaded Model; its directory is read again.
    """
    if isinstance(options.get("model"), Model):
        options["model"] = str(options["model"].path)
    return drain(steps(SynthesizeRequest(out=str(out), **options)))


def plan(request: SynthesizeRequest) -> Plan:
    """What the request will give and cost; writes nothing."""
    check_request(request)
    model = Model.load(request.model, request.device, request.precision)
    grid = target_grid(request, model)
    source = open_source(request, model, grid)
    return make_plan(request, model, grid, source.words, source.coverage)


def steps(request: SynthesizeRequest) -> Generator[Step, None, Result]:
    """Run the whole job, yielding progress; the generator's value is the result."""
    began = time.perf_counter()
    check_request(request)
    yield Step("load", 0, 1)
    model = Model.load(request.model, request.device, request.precision)
    yield Step("load", 1, 1)
    grid = target_grid(request, model)
    source = open_source(request, model, grid)
    plan = make_plan(request, model, grid, source.words, source.coverage)
    check_room(plan)
    provenance = describe(request, model, plan)
    embeddings = yield from embeddings_of(request, model, source, grid)
    field = conditions(model, embeddings, grid, plan.canvas)
    latents = yield from paint(model, plan, field, request.seed)
    with WorkingRaster(request.out, grid, provenance=provenance) as raster:
        yield from decode(model, latents, plan, raster)
        yield Step("write", 0, 1)
    item = publish(request, raster, grid, provenance)
    yield Step("write", 1, 1)
    seconds = time.perf_counter() - began
    return Result(request.out, str(item), request.preview, plan, provenance, seconds)


def open_source(request: SynthesizeRequest, model: Model, grid: PixelGrid) -> Source:
    """Find what the request names and say it in words. Raises DataError for a misfit."""
    if request.reference:
        reference, coverage = open_reference(request, grid)
        return Source(reference, None, f"raster {Path(request.reference).name}", coverage)
    if request.embeddings:
        saved, coverage = open_embeddings(request, model, grid)
        return Source(None, saved, f"embeddings {Path(request.embeddings).name}", coverage)
    return Source(None, None, f"prior of {model.name}, seed {prior_seed(request)}", None)


def prior_seed(request: SynthesizeRequest) -> int:
    """The seed of the layout."""
    return request.seed if request.prior_seed is None else request.prior_seed


def embeddings_of(
    request: SynthesizeRequest, model: Model, source: Source, grid: PixelGrid
) -> Generator[Step, None, EmbeddingGrid]:
    """The embedding grid that guides the mosaic, without holes."""
    if source.reference is not None:
        embedded = yield from embed_steps(model, source.reference, grid)
        return embedded.filled()
    if source.saved is not None:
        return source.saved.filled()
    return imagine(model, grid, prior_seed(request))


def describe(request: SynthesizeRequest, model: Model, plan: Plan) -> Provenance:
    """Provenance of the mosaic to be."""
    given = (request.reference, request.embeddings)
    return Provenance(
        model=model.name,
        model_hash=model.hash,
        seed=request.seed,
        source=plan.source,
        mode=request.mode,
        steps=plan.sampling.steps,
        guidance=plan.sampling.guidance,
        noise_version=NOISE_VERSION,
        command=request.command,
        derived_from=tuple(str(path) for path in given if path),
        credit=model.credit,
    )


def paint(model: Model, plan: Plan, field: Tensor, seed: int) -> Generator[Step, None, Tensor]:
    """Denoise the canvas; the generator's value is its latents (1, channel, row, col)."""
    latents = torch.empty(0)
    states = denoise(model, plan.sampling, field, plan.canvas, plan.gsd, seed)
    yield Step("paint", 0, plan.sampling.steps)
    for done, state in enumerate(states, start=1):
        latents = state
        yield Step("paint", done, plan.sampling.steps)
    return latents


def decode(
    model: Model, latents: Tensor, plan: Plan, raster: WorkingRaster
) -> Generator[Step, None, None]:
    """Decode tile by tile, each with the decoder's receptive halo, into the working raster."""
    factor, halo = model.codec.factor, model.codec.halo
    tiles = list(plan.grid.latents(factor).tiles(DECODE))
    for done, tile in enumerate(tiles, start=1):
        around = tile.pad(halo).intersect(plan.canvas)
        assert around is not None  # the canvas contains every tile
        rows, cols = around.within(plan.canvas)
        pixels = model.codec.decode(latents[:, :, rows, cols].to(model.device))[0].cpu().numpy()
        rows, cols = tile.zoom_in(factor).within(around.zoom_in(factor))
        raster.write(tile.zoom_in(factor), np.ascontiguousarray(pixels[:, rows, cols]))
        yield Step("decode", done, len(tiles))


def publish(
    request: SynthesizeRequest, raster: WorkingRaster, grid: PixelGrid, provenance: Provenance
) -> Path:
    """COG in place, preview and STAC item beside it; returns the item's path."""
    cog.finish(raster.path, request.out, request.cog_profile, request.co)
    try:
        if request.preview:
            preview(request.out, request.preview, overwrite=request.overwrite)
        return stac.write_item(request.out, grid, provenance, request.preview)
    except BaseException:
        # A mosaic never stands without its item, nor beside that of a former one.
        for path in (Path(request.out), cog.item_path(request.out)):
            path.unlink(missing_ok=True)
        raise
