"""What every writer of a file needs: hidden names, bounded GDAL, one-line errors, read-back."""

from __future__ import annotations

import ctypes
import shutil
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
import rasterio._env
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as PixelWindow

from geodiff.errors import OutputError
from geodiff.steps import Step, drain
from geodiff.window import Window

# What a write can raise: rasterio lets GDAL's own errors through from some calls.
WRITE_ERRORS = (RasterioError, CPLE_BaseError, OSError)
# rasterio hands this number to GDALSetCacheMax64: it counts bytes, not the MB of the GDAL option.
# A virtual raster keeps that many of its files open, 2 to 3 MB each: memory would grow with them.
_BOUNDS = {"GDAL_CACHEMAX": 32 * 2**20, "GDAL_MAX_DATASET_POOL_SIZE": 4}
_READ = 1024


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL with a block cache of 32 MiB and few open files, silent about rasters without a CRS.

    What fails is raised in Python; nothing is printed.
    """
    _hush_libtiff()
    with warnings.catch_warnings(), rasterio.Env(**_BOUNDS):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@cache
def _hush_libtiff() -> None:
    """Stop libtiff's own lines on stderr ("_tiffWriteProc: No space left on device"), for good.

    GDAL's file layer prints them past every handler that GDAL or Python can set, and reports the
    same failure to Python. Where libtiff is out of reach (Windows, a build of GDAL with a renamed
    copy in it) they stay. https://libtiff.gitlab.io/libtiff/functions/TIFFError.html
    """
    with suppress(OSError, AttributeError):
        handler = ctypes.CDLL(rasterio._env.__file__).TIFFSetErrorHandler
        handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        handler(None)


def hidden(path: Path, token: str, suffix: str = ".tif") -> Path:
    """``.{stem}.geodiff-{token}{suffix}`` beside ``path``: where an unfinished file lives."""
    return path.with_name(f".{path.stem}.geodiff-{token}{suffix}")


def write_failure(path: Path, cause: BaseException | str) -> OutputError:
    """The one-line OutputError for a write that failed, with the space left on that disk."""
    while isinstance(cause, BaseException) and cause.__cause__ is not None:
        cause = cause.__cause__  # rasterio: "Write failed. See previous exception for details."
    reason = " ".join(str(cause).split()) or type(cause).__name__
    space = ""
    with suppress(OSError):
        free = shutil.disk_usage(path.parent).free / 1e6
        space = f" ({free:.1f} MB free on that disk)"
        if free < 1:  # what GDAL says of it is of its own files and blocks
            reason = "the disk is full"
    return OutputError(f"cannot write {path}: {reason}{space}: make room or choose another --out")


def histogram(path: Path) -> NDArray[np.int64]:
    """How often each value 0..255 occurs in each band of a uint8 raster: (band, 256).

    Reads every pixel, in pieces of a few MB. Raises what GDAL raises where a block is damaged.
    """
    return drain(reading_back(path))


def reading_back(path: Path) -> Generator[Step, None, NDArray[np.int64]]:
    """``histogram``, yielding progress; its counts are the generator's value."""
    with gdal(), rasterio.open(path) as dataset:
        counts = np.zeros((dataset.count, 256), np.int64)
        pieces = list(Window(0, 0, dataset.height, dataset.width).tiles(_READ))
        for done, piece in enumerate(pieces, start=1):
            for band, pixels in enumerate(dataset.read(window=pixel_window(piece))):
                counts[band] += np.bincount(pixels.ravel(), minlength=256)
            yield Step("verify", done, len(pieces))
    return counts


def statistics(counts: NDArray[np.int64]) -> dict[str, float]:
    """GDAL's STATISTICS_* of one band from its 256 counts."""
    values, total = np.arange(256, dtype=np.float64), int(counts.sum())
    mean = float(values @ counts) / total
    present = np.flatnonzero(counts)
    return {
        "STATISTICS_MINIMUM": float(present[0]),
        "STATISTICS_MAXIMUM": float(present[-1]),
        "STATISTICS_MEAN": mean,
        "STATISTICS_STDDEV": float(np.sqrt((values - mean) ** 2 @ counts / total)),
        "STATISTICS_VALID_PERCENT": 100.0,
    }


def pixel_window(window: Window) -> PixelWindow:
    """The window in rasterio's words; it counts from the raster's top-left pixel."""
    return PixelWindow(window.col, window.row, window.width, window.height)
