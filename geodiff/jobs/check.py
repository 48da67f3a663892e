"""What can be refused at once: before torch is imported and a model is loaded."""

from __future__ import annotations

from pathlib import Path

from geodiff.errors import ModelError, UsageError
from geodiff.geo.cog import check_options, check_output, check_target
from geodiff.geo.grid import box_grid, raster_grid
from geodiff.jobs.request import SynthesizeRequest

TRIAL = 1e-3
"""A pixel size small enough for any CRS, to try a box whose resolution is not known yet."""


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
        box_grid(request.bbox, request.bbox_crs, request.crs, request.res or TRIAL)
    for path in (request.reference, request.like):
        if path is not None:
            raster_grid(path)
