"""What a mosaic will be and cost, worked out before anything is painted."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import torch

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import parse_crs
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.jobs.embed import reference_grid, snap
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.sampling import Sampling
from geodiff.models.bundle import Model
from geodiff.window import Window

MODEL_MB = 900
"""Resident memory of Python, torch and the shipped model (see benchmarks/speed.py)."""


@dataclass(frozen=True)
class Plan:
    """The grid of a mosaic and the work it takes."""

    grid: PixelGrid
    canvas: Window  # latents that are painted, on the lattice
    sampling: Sampling
    gsd: float  # metres per pixel that the model is told
    source: str  # what the mosaic goes by, in words
    coverage: float | None  # share of the grid that the source covers
    windows: int  # of the first solver step
    evaluations: int  # network evaluations of one window
    seconds: float  # estimated from one timed network call
    memory_mb: float  # estimated peak
    disk_mb: float  # working file, uncompressed upper bound
    model: str
    notes: tuple[str, ...]
    factor: int = 8  # pixels a latent

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        box = self.grid.geobox
        height, width = box.shape
        return {
            "crs": None if self.grid.crs is None else self.grid.crs_name,
            "transform": list(box.affine)[:6],
            "width": width,
            "height": height,
            "bounds": list(box.boundingbox.bbox),
            "bounds_lonlat": self.grid.bounds_lonlat(),
            "gsd": self.gsd,
            "megapixels": round(height * width / 1e6, 3),
            "source": self.source,
            "coverage": self.coverage,
            "model": self.model,
            "window_px": self.sampling.size * self.factor,
            "stride_px": self.sampling.stride * self.factor,
            "steps": self.sampling.steps,
            "guidance": self.sampling.guidance,
            "windows": self.windows,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 1),
            "memory_mb": round(self.memory_mb),
            "disk_mb": round(self.disk_mb, 1),
            "notes": list(self.notes),
        }


def target_grid(request: SynthesizeRequest, model: Model) -> PixelGrid:
    """The grid of the mosaic: like, else the box, else the source's own."""
    if request.like:
        return raster_grid(request.like)
    if request.reference:
        return reference_grid(
            request.reference, request.bbox, request.bbox_crs, request.crs, request.res
        )
    if request.embeddings:
        saved = EmbeddingGrid.open(request.embeddings)
        return grid_of_embeddings(request, saved)
    assert request.bbox is not None  # SynthesizeRequest refuses requests without a place
    res = default_res(request, model) if request.res is None else request.res
    return box_grid(request.bbox, request.bbox_crs, request.crs, res)


def default_res(request: SynthesizeRequest, model: Model) -> float:
    """The model's own pixel size in units of the output CRS; refuses degrees."""
    assert request.bbox is not None
    if request.crs is None:
        return model.gsd
    crs = parse_crs(request.crs).proj
    if crs.is_geographic:
        raise UsageError(
            f"--crs {request.crs} counts in degrees: give --res in degrees as well, "
            f"for example --res {model.gsd / 111_320:.7f}"
        )
    return float(model.gsd / crs.axis_info[0].unit_conversion_factor)


def grid_of_embeddings(request: SynthesizeRequest, saved: EmbeddingGrid) -> PixelGrid:
    """All pixels under the saved cells, or those of the box in the cells' CRS and resolution."""
    own = saved.grid
    affine = own.geobox.affine
    pixel = affine.a / saved.cell
    if request.bbox is not None:
        if own.crs is None:
            raise UsageError(
                f"{request.embeddings} has no CRS, so a box cannot be found in it: leave out --bbox"
            )
        if request.crs is not None and request.res is None and parse_crs(request.crs) != own.crs:
            raise UsageError(
                f"--crs {request.crs} differs from the CRS of {request.embeddings}: give --res as "
                "well"
            )
        res = snap(pixel) if request.res is None else request.res
        return box_grid(request.bbox, request.bbox_crs, request.crs or str(own.crs), res)
    return own.pixel_grid(saved.cell)


def make_plan(
    request: SynthesizeRequest, model: Model, grid: PixelGrid, source: str, coverage: float | None
) -> Plan:
    """Count the work; times one batch of the network."""
    sampling = Sampling.of(request.mode, model, request.steps, request.guidance, request.batch)
    canvas = sampling.canvas(grid, model.codec.factor)
    evaluations = sampling.evaluations(canvas)
    height, width = grid.window.shape
    gsd = grid.gsd or model.gsd
    cells = canvas.height * canvas.width
    field = cells * model.encoder.dim * 2
    embeddings = 4 * height * width / model.cell**2 * model.encoder.dim * 4
    state = cells * model.codec.channels * 4 * 6
    return Plan(
        grid=grid,
        canvas=canvas,
        sampling=sampling,
        gsd=gsd,
        source=source,
        coverage=coverage,
        windows=sampling.windows(canvas),
        evaluations=evaluations,
        seconds=evaluations * seconds_per_window(model, sampling) + height * width / 1e6,
        memory_mb=MODEL_MB + (field + state + embeddings) / 1e6,
        disk_mb=2 * 3 * height * width / 1e6,
        model=model.name,
        notes=tuple(notes(model, grid, gsd, coverage)),
        factor=model.codec.factor,
    )


def notes(model: Model, grid: PixelGrid, gsd: float, coverage: float | None) -> list[str]:
    """Things the user should know before the run."""
    told = []
    low, high = model.gsd_range
    if grid.crs is None:
        told.append(
            "no CRS: the mosaic is in pixel coordinates, as its source, and the model is told "
            f"{gsd:g} m per pixel"
        )
    if coverage is not None and coverage < 1 - 1e-9:
        told.append(f"the source covers {coverage:.1%}; the rest goes by the nearest valid cell")
    if not 0.8 * low <= gsd <= 1.25 * high:
        told.append(
            f"{gsd:.3g} m per pixel is outside the {low:g} to {high:g} m that {model.name} was "
            "trained on; the picture will show things at the wrong size"
        )
    return told


def check_room(plan: Plan) -> None:
    """Raises DataError where the mosaic would not fit into this machine's memory."""
    there = memory_mb()
    if plan.memory_mb > there:
        height, width = plan.grid.window.shape
        raise DataError(
            f"a mosaic of {width} x {height} px needs about {plan.memory_mb:.0f} MB of memory, "
            f"this machine has {there:.0f} MB: ask for a smaller box or a larger --res"
        )


def memory_mb() -> float:
    """Physical memory of the machine; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (AttributeError, OSError, ValueError):
        return float("inf")


@torch.no_grad()
def seconds_per_window(model: Model, sampling: Sampling) -> float:
    """Time of one window in a network call of the job's batch size, on this machine, now."""
    shape = (sampling.batch, model.codec.channels, sampling.size, sampling.size)
    field = torch.zeros(sampling.batch, model.encoder.dim, sampling.size, sampling.size)
    noisy, when = torch.zeros(shape), torch.full((sampling.batch,), 0.5)
    best = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        model.denoiser.velocity(noisy, when, field, model.gsd)
        best = min(best, time.perf_counter() - began)
    return best / sampling.batch
