"""GDAL's copy of a raster into a new file, with what rasterio's lacks: progress, and a way to stop.

The calls are those of GDAL's C interface, in the library that rasterio itself has loaded:
https://gdal.org/en/stable/api/raster_c_api.html
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from ctypes import c_char_p, c_double, c_int, c_void_p
from functools import cache
from pathlib import Path

import rasterio._env
import rasterio.shutil

Told = Callable[[float], bool]
"""Hears from time to time which share (0 to 1) is copied; the copy is given up where it says no."""

_Progress = ctypes.CFUNCTYPE(c_int, c_double, c_char_p, c_void_p)
_FAILURE = 3  # CE_Failure
_CALLS = {
    "CPLErrorReset": (None, []),
    "CPLGetLastErrorType": (c_int, []),
    "CPLGetLastErrorMsg": (c_char_p, []),
    "GDALGetDriverByName": (c_void_p, [c_char_p]),
    "GDALOpen": (c_void_p, [c_char_p, c_int]),
    "GDALCreateCopy": (
        c_void_p, [c_void_p, c_char_p, c_void_p, c_int, c_void_p, _Progress, c_void_p],
    ),
    "GDALClose": (None, [c_void_p]),
}  # fmt: skip


def create_copy(
    source: Path, target: Path, driver: str, options: Mapping[str, str], told: Told
) -> None:
    """Copies ``source`` into a new file ``target``; to be called inside ``writing.gdal``.

    Raises OSError with GDAL's words, also where ``told`` gave the copy up; what is written of
    ``target`` then stays. Where GDAL's functions are out of reach (Windows, where a module's
    handle does not lead to the libraries that it uses) rasterio copies: it tells nothing and
    cannot be stopped.
    """
    library = gdal_library()
    if library is None:
        rasterio.shutil.copy(str(source), str(target), driver=driver, **options)
        return
    pairs = [f"{name}={value}".encode() for name, value in options.items()]
    listed = (c_char_p * (len(pairs) + 1))(*pairs, None)
    progress = _Progress(lambda share, message, data: int(told(share)))
    library.CPLErrorReset()
    opened = library.GDALOpen(os.fsencode(source), 0)
    made = opened and library.GDALCreateCopy(
        library.GDALGetDriverByName(driver.encode()),
        *(os.fsencode(target), opened, 1, listed, progress, None),
    )
    failed = not made or library.CPLGetLastErrorType() >= _FAILURE
    reason = library.CPLGetLastErrorMsg().decode(errors="replace")
    for dataset in filter(None, (made, opened)):
        library.CPLErrorReset()
        library.GDALClose(dataset)  # writes what is left: may fail as well
        if not failed and library.CPLGetLastErrorType() >= _FAILURE:
            failed, reason = True, library.CPLGetLastErrorMsg().decode(errors="replace")
    if failed:
        raise OSError(reason or f"GDAL cannot copy {source}")


@cache
def gdal_library() -> ctypes.CDLL | None:
    """GDAL as rasterio has loaded it, its functions declared; None where it is out of reach."""
    try:
        library = ctypes.CDLL(rasterio._env.__file__)
        for name, (result, arguments) in _CALLS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library
