"""What is installed, which devices there are, and the facts of a model."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from geodiff.errors import ModelError
from geodiff.geo.provenance import software_version

PACKAGES = (
    *("torch", "diffusers", "timm", "safetensors", "numpy", "rasterio", "rio-cogeo", "odc-geo"),
    *("pyproj", "rioxarray", "xarray", "geopandas", "shapely", "pystac", "click"),
)
"""Distributions whose version matters in a bug report."""


def info(model: str | None = None) -> dict[str, Any]:
    """JSON-ready facts under versions, devices, threads, model and model_missing.

    ``model`` is a model directory; None is the one shipped with the package, and if that is
    missing, model is None and model_missing says why. Raises ModelError for a given directory that
    cannot be used.
    """
    import torch

    from geodiff.models.bundle import Model

    facts, missing = None, None
    try:
        facts = Model.load(model).facts()
    except ModelError as error:
        if model is not None:
            raise
        missing = str(error)
    return {
        "versions": versions(),
        "devices": devices(),
        "threads": torch.get_num_threads(),
        "model": facts,
        "model_missing": missing,
    }


def versions() -> dict[str, str]:
    """Versions of geodiff, Python, the system, GDAL and its like, and the packages."""
    import rasterio

    table = {
        "geodiff": software_version(),
        "Python": sys.version.split()[0],
        "system": platform.platform(),
        "GDAL": rasterio.__gdal_version__,
        "PROJ": rasterio.__proj_version__,
        "GEOS": rasterio.__geos_version__,
    }
    for name in PACKAGES:
        try:
            table[name] = version(name)
        except PackageNotFoundError:
            table[name] = "missing"
    return table


def devices() -> list[str]:
    """Devices the networks can run on, in words."""
    import torch

    found = ["cpu"]
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        found.append(f"cuda:{number} ({facts.name}, {facts.total_memory / 2**30:.0f} GiB)")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
