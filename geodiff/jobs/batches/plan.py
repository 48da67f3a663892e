"""What a batch will make and cost, worked out from the items alone: no raster is opened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from geodiff.errors import DataError, GeodiffError, UsageError
from geodiff.geo.boxes import DEGREES, parse_crs, utm_crs
from geodiff.geo.grid import PixelGrid
from geodiff.geo.stac_items import Unusable
from geodiff.geo.store import open_store
from geodiff.jobs.batches.ledger import review
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.batches.units import Unit, Units
from geodiff.jobs.batches.work import Job, cell_grid, item_grid, place_told
from geodiff.jobs.mosaic.charts import Chart, charts
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.mosaic.timing import alike, painting_seconds
from geodiff.jobs.plan import target_grid
from geodiff.jobs.request import CHART
from geodiff.models.bundle import Model
from geodiff.steps import drain

BANDS = 3
"""Bytes of a pixel."""


@dataclass(frozen=True)
class BatchPlan:
    """The work that is left, and what cannot become a unit."""

    units: int  # that can be made or are done, as far as their items tell
    kept: int  # done already, by items and sizes alone
    megapixels: float  # of the units that are left, as the items say
    charts: int
    evaluations: int  # of one window
    seconds: float  # for one process like this one
    disk_mb: float  # uncompressed: COGs of what is left, and charts of what is under way
    unusable: tuple[Unusable, ...]  # items and cells of which nothing can be made
    unplaced: int  # units whose grid is not known: not counted in the work
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            **{name: value for name, value in vars(self).items() if name != "unusable"},
            "megapixels": round(self.megapixels, 3),
            "seconds": round(self.seconds, 1),
            "disk_mb": round(self.disk_mb, 3),
            "notes": list(self.notes),
            "unusable": [{"source": one.name, "reason": one.reason} for one in self.unusable],
        }


def make_plan(request: BatchRequest, job: Job, model: Model, found: Units) -> BatchPlan:
    """Count the units that are not done and their work; times one batch of the network."""
    ledger = drain(review(open_store(request.out_dir), job, found.units, True))
    missing = [unit for unit in found.units if unit.name not in ledger.done]
    sampling = Sampling.of(request.mode, model, request.steps, request.guidance, request.batch)
    kinds, areas = Counter[Chart](), list[int]()
    refused, uncounted = list[Unusable](), list[str]()
    for unit in missing:
        try:
            grid = expected(request, unit, model)
            kinds += counted(request, model, sampling, grid)
            areas.append(grid.window.height * grid.window.width)
        except UsageError as error:  # which the run will meet as well
            refused.append(Unusable(unit.name, str(error)))
        except GeodiffError as error:
            uncounted.append(f"{unit.name} is not counted: {error}")
    megapixels = sum(areas) / 1e6
    under_way = sum(sorted(areas)[-max(1, request.workers) :]) / 1e6
    return BatchPlan(
        units=len(found.units) - len(refused),
        kept=len(ledger.done),
        megapixels=megapixels,
        charts=kinds.total(),
        evaluations=sum(n * sampling.evaluations(chart.canvas) for chart, n in kinds.items()),
        seconds=painting_seconds(model, sampling, kinds, megapixels),
        disk_mb=BANDS * (megapixels + under_way),
        unusable=(*found.unusable, *refused),
        unplaced=len(uncounted),
        notes=(*found.notes, *uncounted[:1]),
    )


def counted(
    request: BatchRequest, model: Model, sampling: Sampling, grid: PixelGrid
) -> Counter[Chart]:
    """The charts of a grid, alike ones as one. UsageError for too many."""
    parts = charts("world", grid, model, sampling, request.chart or CHART)
    return Counter(alike(sampling, chart) for chart in parts)


def expected(request: BatchRequest, unit: Unit, model: Model) -> PixelGrid:
    """The grid that a unit will have, from what its item says.

    Raises DataError where it does not say, UsageError for a grid that cannot be.
    """
    if unit.cell is not None:
        place = cell_grid(request, *unit.cell)
    elif unit.found is not None and (told := place_told(unit.found)) is not None:
        place = item_grid(request, told, unit.clip, unit.source)
    elif unit.found is not None and unit.found.footprint is not None:
        west, south, east, north = map(float, unit.found.footprint.bounds)
        box = west, south, east, north
        crs = request.crs or str(utm_crs(box, parse_crs(DEGREES)))
        place = {"bbox": box, "bbox_crs": DEGREES, "crs": crs}
    else:
        raise DataError("its item does not say where it lies")
    return target_grid(request.mosaic("twin.tif", unit.seed, **place), model)
