"""One unit of a batch: its item read, its twin painted, described and put into the catalogue."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from affine import Affine

from geodiff.errors import DataError, GeodiffError, OutputError, UsageError
from geodiff.geo.boxes import DEGREES, Box, parse_crs, project_box
from geodiff.geo.placement import Placement
from geodiff.geo.provenance import plain
from geodiff.geo.search import Found
from geodiff.geo.signing import forget
from geodiff.geo.stac_assets import ground
from geodiff.geo.stac_pixels import Look, Reading, look
from geodiff.geo.stac_source import Region, StacSource
from geodiff.geo.static_collection import ITEMS, Document, as_member, write_json
from geodiff.geo.store import open_store
from geodiff.geo.target import check_output
from geodiff.jobs.batches.memory import Mark, mark_of
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.batches.units import Unit
from geodiff.jobs.mosaic.catalogue import ORDERS, Images
from geodiff.jobs.mosaic.grids import snap
from geodiff.jobs.mosaic.sources import region_of
from geodiff.jobs.mosaic.worker import cores, model_here
from geodiff.jobs.plan import target_grid
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import steps
from geodiff.models.bundle import Model
from geodiff.models.hub import is_hub
from geodiff.steps import Step, drain


@dataclass(frozen=True)
class Job:
    """What all units of a batch have in common; goes to other processes."""

    request: BatchRequest
    facts: dict[str, Any]  # JSON-ready: all that pixels depend on besides the unit
    model_name: str
    model_hash: str
    model_item: str  # id of the model's item

    @property
    def painting(self) -> Path:
        """The hidden folder in which units are painted; another one for other facts."""
        digest = sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()
        return self.request.desk / f".painting-{digest[:12]}"

    def facts_of(self, unit: Unit) -> dict[str, Any]:
        """All that the unit's pixels depend on, as its item has it."""
        facts: dict[str, Any] = json.loads(json.dumps({**self.facts, **unit.facts}))
        return facts

    def elsewhere(self) -> Job:
        """The same with absolute paths, for processes with another working directory."""
        request = self.request
        local = {"out_dir": None if request.remote else request.out_dir, "model": request.model,
                 "work_dir": request.work_dir}  # fmt: skip
        whole: dict[str, Any] = {
            name: os.path.abspath(path)
            for name, path in local.items()
            if path is not None and not (name == "model" and is_hub(path))
        }
        return replace(self, request=replace(request, **whole))


@dataclass(frozen=True)
class Made:
    """A finished unit."""

    item: Document
    kind: str  # of device and precision, on which the bits depend
    seconds: float
    mark: Mark | None = None  # of the COG as it was put there; None elsewhere


def make(job: Job, unit: Unit) -> Generator[Step, None, Made]:
    """Paint a unit and put it into the catalogue: its COG, then its item, which says it is done.

    Raises what reading, painting and writing raise; then the catalogue is as it was. The charts of
    an unfinished twin are kept, and the next attempt goes on with them.
    """
    began, request = time.perf_counter(), job.request
    model = model_here(request.model, request.device, request.precision, job.model_hash)
    out = job.painting / f"{unit.name}.tif"
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        mosaic, images = mosaic_of(request, unit, model, str(out))
        yield from steps(mosaic, model, images)
    except DataError:
        forget()  # for the next attempt
        raise
    kind = kind_of(model)
    item = described(job, unit, out.with_suffix(".json"), kind)
    store, name = open_store(request.out_dir), f"{ITEMS}/{unit.name}"
    store.take(out, f"{name}.tif")
    final = store.local(f"{name}.tif")
    mark = None if final is None else mark_of(final)
    store.write(f"{name}.json", write_json(item))
    out.with_suffix(".json").unlink(missing_ok=True)
    return Made(item, kind, time.perf_counter() - began, mark)


def make_remotely(job: Job, unit: Unit) -> Made | Exception:
    """``make`` in a worker of a cluster, with its share of the cores.

    What it raises is the result: workers print every error that they meet.
    """
    if job.request.workers:
        torch.set_num_threads(max(1, cores() // job.request.workers))
    try:
        return drain(make(job, unit))
    except GeodiffError as error:
        return type(error)(str(error))
    except Exception as error:  # of a kind that this process may not know
        return GeodiffError(f"unexpected {type(error).__name__}: {error}")


def kind_of(model: Model) -> str:
    """Device and precision in words."""
    return f"{model.device.type}, {'bf16' if model.denoiser.bf16 else 'fp32'}"


def mosaic_of(
    request: BatchRequest, unit: Unit, model: Model, out: str
) -> tuple[SynthesizeRequest, Images | None]:
    """The unit as a mosaic, and the images that it goes by where these are known already."""
    if unit.cell is not None:
        return request.mosaic(out, unit.seed, **cell_grid(request, *unit.cell)), None
    assert unit.found is not None  # a unit is of an item or of a cell
    how = Reading(
        request.bands, request.scale, request.stac_timeout, request.stac_requester_pays,
        request.stac_any_href,
    )  # fmt: skip
    seen = look(unit.found, how)
    place = seen.rasters[0].placement
    mosaic = request.mosaic(out, unit.seed, **item_grid(request, place, unit.clip, unit.source))
    region = region_of(mosaic, model, target_grid(mosaic, model))
    images = images_of(unit.found, how, seen, Region(region))
    final = open_store(request.out_dir).local(f"{ITEMS}/{unit.name}.tif")
    for target in (Path(out), final):
        if target is not None and target.parent.is_dir():
            check_output(target, True, images.source.files)
    return mosaic, images


def images_of(found: Found, how: Reading, seen: Look, region: Region) -> Images:
    """One item as the only image of a source; its raster tells what ground it shows."""
    place = seen.rasters[0].placement
    shown = ground(str(place.crs), (place.height, place.width), place.affine)
    one = replace(found, footprint=shown)
    words = f"STAC item {plain(found.name)} of {plain(found.collection) or 'no collection'}"
    source = StacSource(words, (one,), region, how)
    source.known[one, how] = seen
    return Images(source, ORDERS[0], 1, ())


def item_grid(
    request: BatchRequest, place: Placement, clip: Box | None, name: str
) -> dict[str, Any]:
    """Fields of the mosaic of an item: its CRS, bounds and pixel size, unless others are asked for.

    The pixel size is freed of float noise and the grid snapped to the lattice of the CRS, on which
    NAIP lies: neighbours then share their pixels. Raises DataError where the box cuts all of it.
    """
    assert place.crs is not None  # `look` refuses rasters without
    crs = place.crs if request.crs is None else parse_crs(request.crs)
    box = project_box(bounds_of(place.affine, place.height, place.width), place.crs, crs)
    if clip is not None:
        frame = project_box(clip, parse_crs(DEGREES), crs)
        box = (max(box[0], frame[0]), max(box[1], frame[1]),
               min(box[2], frame[2]), min(box[3], frame[3]))  # fmt: skip
        if box[0] >= box[2] or box[1] >= box[3]:
            raise DataError(f"the raster of the item {plain(name)} does not reach into --bbox")
    own = snap(place.pixel) if request.crs is None or crs == place.crs else None
    res = own if request.res is None else request.res
    return {"bbox": box, "bbox_crs": str(crs), "crs": str(crs), "res": res}


def cell_grid(request: BatchRequest, bounds: Box, crs: str) -> dict[str, Any]:
    """Fields of the mosaic of a cell: in the cells' CRS where that is projected, else in UTM."""
    own = crs if parse_crs(crs).proj.is_projected else None
    return {"bbox": bounds, "bbox_crs": crs, "crs": request.crs or own}


def bounds_of(affine: Affine, height: int, width: int) -> Box:
    """Left, bottom, right, top of a raster, which may be rotated."""
    a, b, c, d, e, f = affine[:6]
    xs = [a * col + b * row + c for row in (0, height) for col in (0, width)]
    ys = [d * col + e * row + f for row in (0, height) for col in (0, width)]
    return min(xs), min(ys), max(xs), max(ys)


def described(job: Job, unit: Unit, path: Path, kind: str) -> Document:
    """The item that stands beside a painted mosaic, as a member of the catalogue."""
    try:
        item: Document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"the item {path} is gone or damaged: {error}") from error
    more: dict[str, Any] = {
        "geodiff:batch": job.facts_of(unit),
        "geodiff:variant": unit.variant,
        "geodiff:device": kind,
    }
    if unit.found is not None:
        more["geodiff:source_item"] = plain(unit.found.name)
        more["geodiff:source_datetime"] = unit.found.datetime
    model = {"href": f"../model/{job.model_item}.json", "name": job.model_name}
    return as_member(item, job.request.collection_name, model, more)


def place_told(found: Found) -> Placement | None:
    """Where an item says that its raster lies; None where it does not say, or cannot be."""
    if found.raster is None:
        return None
    crs, (height, width), numbers = found.raster
    try:
        return Placement(parse_crs(crs), Affine(*numbers), height, width)
    except UsageError:
        return None
