"""What can be refused at once: before torch is imported and a model is loaded."""

from __future__ import annotations

from pathlib import Path

from geodiff.errors import ModelError, UsageError
from geodiff.geo.boxes import check_box, parse_crs, project_box, utm_crs
from geodiff.geo.cog import check_options, check_output, check_target
from geodiff.geo.grid import box_grid, raster_grid
from geodiff.jobs.request import SynthesizeRequest


def check_request(request: SynthesizeRequest) -> None:
    """Everything that can be refused before a model is loaded."""
    check_output(request.out, request.overwrite, request.sources)
    check_options(request.cog_profile, request.co)
    if request.preview:
        if Path(request.preview).suffix.lower() != ".png":
            raise UsageError(f"the preview {request.preview} does not end in .png")
        check_target(Path(request.preview), request.overwrite, request.sources)
    if request.model is not None and not Path(request.model).is_dir():
        raise ModelError(f"the model directory {request.model} does not exist")
    if request.bbox is not None:
        check_place(request)
    for path in (request.reference, request.like):
        if path is not None:
            raster_grid(path)


def check_place(request: SynthesizeRequest) -> None:
    """Raises UsageError for a box that makes no grid, even if its resolution is not known yet."""
    assert request.bbox is not None
    if request.res is not None:
        box_grid(request.bbox, request.bbox_crs, request.crs, request.res)
        return
    source = parse_crs(request.bbox_crs)
    box = check_box(request.bbox, source)
    target = utm_crs(box, source) if request.crs is None else parse_crs(request.crs)
    project_box(box, source, target)
