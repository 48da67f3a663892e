"""What can be refused at once: before torch is imported and a model is loaded."""

from __future__ import annotations

from pathlib import Path

from geodiff.errors import DataError, ModelError, UsageError
from geodiff.geo import journal
from geodiff.geo.boxes import DEGREES, check_box, parse_crs, project_box, utm_crs
from geodiff.geo.cog_options import check_options
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.placement import raster_placement
from geodiff.geo.target import check_output, check_target
from geodiff.jobs.drawing import placed
from geodiff.jobs.request import SynthesizeRequest
from geodiff.models.hub import HubName, is_hub


def check_request(request: SynthesizeRequest) -> None:
    """Everything that can be refused before a model is loaded."""
    # A run that was stopped while it put its mosaic into place may have taken the name already.
    ours = request.overwrite or journal.publishing(request.out)
    check_output(request.out, ours, request.sources)
    check_options(request.cog_profile, request.co)
    if request.preview:
        if Path(request.preview).suffix.lower() != ".png":
            raise UsageError(f"the preview {request.preview} does not end in .png")
        check_target(Path(request.preview), ours, request.sources)
    check_model(request.model)
    if request.prompt is not None:
        request.prompt.check(request.model)
    if request.drawing is not None:
        request.drawing.check(request.model)
        check_drawn(request)
    if (catalogue := request.catalogue) is not None:
        catalogue.check()
    if request.bbox is not None:
        check_place(request)
    grid = raster_grid(request.like) if request.like else None
    if request.reference and (request.like or request.bbox):
        raster_placement(request.reference)  # warped onto that grid, so it may be rotated
    elif request.reference:
        grid = raster_grid(request.reference)
    if grid is not None:
        ground_sample(grid, request.gsd)


def check_model(path: str | None) -> None:
    """Raises ModelError for a directory that is not there, UsageError for no name of the hub."""
    if path is not None and is_hub(path):
        HubName.of(path)
    elif path is not None and not Path(path).is_dir():
        raise ModelError(f"the model directory {path} does not exist")


def ground_sample(grid: PixelGrid, given: float | None, default: float = 1.0) -> float:
    """Metres per pixel: the grid's own, else ``given``, else ``default``.

    Raises UsageError where one is given although the grid's CRS tells it.
    """
    own = grid.gsd
    if own is None:
        return default if given is None else given
    if given is not None:
        raise UsageError(
            f"--gsd {given:g} is for a raster without CRS, but the grid is in {grid.crs_name}, "
            f"which makes {own:.6g} m per pixel: leave it out"
        )
    return own


def unfinished(out: str) -> tuple[int, int] | None:
    """How many charts of how many a stopped run of ``out`` left behind; None without one."""
    return journal.unfinished(out)


def check_drawn(request: SynthesizeRequest) -> None:
    """Raises DataError where polygons have to give the mosaic its box, and cannot."""
    place = placed(request)
    if place is request:
        return
    try:
        check_place(place)
    except UsageError as error:
        raise DataError(
            f"the polygons of {request.layout_name} do not give a box to fill ({error}): give one "
            "with --bbox"
        ) from error


def check_place(request: SynthesizeRequest) -> None:
    """Raises UsageError for a box that makes no grid, even if its resolution is not known yet."""
    assert request.bbox is not None
    if request.res is not None:
        box_grid(request.bbox, request.bbox_crs, request.crs, request.res)
        return
    source = parse_crs(request.bbox_crs or DEGREES)
    box = check_box(request.bbox, source)
    target = utm_crs(box, source) if request.crs is None else parse_crs(request.crs)
    project_box(box, source, target)
