"""From the working raster to a strictly valid Cloud-Optimized GeoTIFF, renamed into place."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from rio_cogeo.cogeo import cog_validate

from geodiff.errors import UsageError
from geodiff.geo.cog_options import LOSSLESS, check_options
from geodiff.geo.copying import create_copy
from geodiff.geo.heap import lean_heap
from geodiff.geo.writing import (
    WRITE_ERRORS,
    gdal,
    hidden,
    reading_back,
    statistics,
    write_failure,
)
from geodiff.steps import Step, drain

log = logging.getLogger(__name__)

_LOOK = 0.1  # seconds between two looks at a copy under way


def finish(
    working_path: str | Path,
    out_path: str | Path,
    profile: str = "zstd",
    creation_options: Sequence[str] = (),
    keep_working: bool = False,
) -> None:
    """Copies a working raster into a COG at ``out_path`` and removes the working raster.

    The COG is made under a hidden name in the same directory, must pass rio-cogeo's strict
    validation, have overviews when a side exceeds 512 px, and hold every pixel (the same ones, for
    a lossless profile); then it replaces ``out_path`` in one step, along with the sidecars GDAL
    keeps for a former file of that name. Whatever happens, no unfinished file is left; the working
    raster stays only with ``keep_working``. Raises UsageError for options that do not fit and
    OutputError in one line for everything else, a full disk included.
    """
    working, out = Path(working_path), Path(out_path)
    temporary = hidden(out, f"{os.getpid()}-cog")
    try:
        make(working, temporary, profile, creation_options)
        place(temporary, out)
    except WRITE_ERRORS as error:
        raise write_failure(out, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        if not keep_working:
            working.unlink(missing_ok=True)


def make(
    source: Path, target: Path, profile: str = "zstd", creation_options: Sequence[str] = ()
) -> None:
    """Copies a raster into a COG at ``target`` and validates it as ``finish`` does.

    Raises what GDAL raises, or OSError for a file that is not valid; then there is no target.
    """
    drain(making(source, target, profile, creation_options))


def making(
    source: Path, target: Path, profile: str = "zstd", creation_options: Sequence[str] = ()
) -> Generator[Step, None, None]:
    """``make``, yielding progress: the stage "write" in percent, "verify" in pieces read back.

    Given up, interrupted or failing at any moment, it ends at once and leaves no target.
    """
    options = check_options(profile, creation_options)
    chosen = any(option.strip().upper().startswith("BLOCKSIZE") for option in creation_options)
    options |= _layout(source, options, None if chosen else (512, 256, 128))
    log.debug("COG: %s with %s", target.name, options)
    try:
        yield Step("write", 0, 100)
        with lean_heap():
            for share in copying(source, target, options):
                yield Step("write", int(100 * share), 100)
            yield Step("write", 100, 100)
            levels = yield from _checking(target, lossless=options["COMPRESS"] in LOSSLESS)
        with target.open("rb") as file:
            os.fsync(file.fileno())
        log.info("COG: %.2f MB, %d overviews, valid", target.stat().st_size / 1e6, levels)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        for left in target.parent.glob(f"{_escape(target.name)}.*"):
            left.unlink(missing_ok=True)


def copying(source: Path, target: Path, options: Mapping[str, str]) -> Iterator[float]:
    """The share that is copied, every now and then, while a thread copies ``source`` into a COG.

    The thread leaves this one free to hear Ctrl-C. Left early, for whatever reason, the copy is
    stopped and waited for: GDAL asks after every few blocks whether to go on. Raises what
    ``create_copy`` raises.
    """
    failed: list[BaseException] = []
    # Not Thread.join: interrupted by Ctrl-C, Python 3.11's takes a running thread for ended.
    stopped, ended, share = threading.Event(), threading.Event(), 0.0

    def told(now: float) -> bool:
        nonlocal share
        share = now
        return not stopped.is_set()

    def copy() -> None:
        try:
            with gdal():
                create_copy(source, target, "COG", options, told)
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=copy, name="COG").start()
    try:
        while not ended.is_set():
            ended.wait(_LOOK)
            yield share
    finally:
        stopped.set()
        if not ended.is_set():
            log.info("COG: the copy is given up at %d %%", 100 * share)
            ended.wait()
    if failed:
        raise failed[0]


def is_valid(path: Path) -> bool:
    """Whether a file is a strictly valid COG; looks at its head alone."""
    try:
        with gdal():
            return bool(cog_validate(path, strict=True, quiet=True)[0])
    except WRITE_ERRORS:
        return False


def place(made: Path, out: Path) -> None:
    """Gives a finished COG its name in one step; drops the sidecars of a former file there."""
    os.replace(made, out)
    log.info("%s is in place", out)
    for sidecar in (".aux.xml", ".ovr", ".msk"):
        out.with_name(out.name + sidecar).unlink(missing_ok=True)


def _escape(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _layout(
    working: Path, options: dict[str, str], blocks: tuple[int, ...] | None
) -> dict[str, str]:
    """The options that depend on the raster: block size, number of overviews, statistics.

    rio-cogeo calls a level "not tiled" when it is as wide as one block and taller than 512 px. Of
    ``blocks`` (None: the size in ``options``) the first is taken with which that befalls no level,
    or only levels small enough to do without.
    """
    with gdal(), rasterio.open(working) as dataset:
        height, width, bands = dataset.height, dataset.width, dataset.count
    codec = options["COMPRESS"]
    if (codec == "JPEG" and bands not in (1, 3)) or (codec == "WEBP" and bands != 3):
        wanted = "1 or 3 bands" if codec == "JPEG" else "3 bands"
        raise UsageError(f"{codec} takes {wanted}, the mosaic has {bands}: use the profile zstd")
    # The driver computes missing statistics through a copy that loses the XMP packet; the working
    # raster has them already, and AUTO carries them over.
    chosen = {"STATISTICS": "NO" if options.get("STATISTICS") == "NO" else "AUTO"}
    for block in blocks or (int(options["BLOCKSIZE"]),):
        levels = 0
        while max(height >> levels, width >> levels) > block:
            levels += 1
        bad = [
            level
            for level in range(levels + 1)
            if height >> level > 512 and block in (width >> level, -(-width >> level))
        ]
        if not bad:
            return chosen | {"BLOCKSIZE": str(block)}
        if bad[0] > 1:
            count = min(bad[0] - 1, int(options.get("OVERVIEW_COUNT", levels)))
            return chosen | {"BLOCKSIZE": str(block), "OVERVIEW_COUNT": str(count)}
    return chosen


def _checking(path: Path, lossless: bool) -> Generator[Step, None, int]:
    """Its value is the number of overviews.

    Raises OSError unless the file is strictly valid, has them and holds every pixel.
    """
    with gdal():
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        with rasterio.open(path) as dataset:
            overviews, side = dataset.overviews(1), max(dataset.shape)
            tags = [dataset.tags(band) for band in dataset.indexes]
    if not valid or (side > 512 and not overviews):
        raise OSError(f"no valid COG: {'; '.join([*errors, *warnings]) or 'overviews are missing'}")
    for band, counts in enumerate((yield from reading_back(path))):
        expected = tags[band].get("STATISTICS_MEAN")
        if lossless and expected is not None:
            mean = statistics(counts)["STATISTICS_MEAN"]
            if not np.isclose(mean, float(expected), rtol=1e-9, atol=0):
                raise OSError(f"band {band + 1} differs from the working raster")
    return len(overviews)
