"""From the working raster to a strictly valid Cloud-Optimized GeoTIFF, renamed into place."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import rasterio
import rasterio.shutil
from rio_cogeo.cogeo import cog_validate

from geodiff.errors import UsageError
from geodiff.geo.writing import WRITE_ERRORS, gdal, hidden, histogram, statistics, write_failure

log = logging.getLogger(__name__)

# Named sets of creation options. zstd, deflate and lzw are lossless. jpeg stores YCbCr with the
# colours at half resolution; jpeg and webp are lossy and an eighth to a tenth of the size.
PROFILES = MappingProxyType(
    {
        "zstd": {"COMPRESS": "ZSTD", "PREDICTOR": "YES"},
        "deflate": {"COMPRESS": "DEFLATE", "PREDICTOR": "YES"},
        "lzw": {"COMPRESS": "LZW", "PREDICTOR": "YES"},
        "jpeg": {"COMPRESS": "JPEG", "QUALITY": "90"},
        "webp": {"COMPRESS": "WEBP", "QUALITY": "90"},
    }
)
_CODECS = "NONE LZW JPEG DEFLATE ZSTD WEBP LERC LERC_DEFLATE LERC_ZSTD LZMA"
_LOSSLESS = ("NONE", "LZW", "DEFLATE", "ZSTD", "LZMA")
_NEEDS = {  # options that only these codecs look at
    "LEVEL": "DEFLATE ZSTD LERC_DEFLATE LERC_ZSTD LZMA", "PREDICTOR": "LZW DEFLATE ZSTD",
    "QUALITY": "JPEG WEBP",
}  # fmt: skip
# Options of GDAL's COG driver (https://gdal.org/en/stable/drivers/raster/cog.html) with the values
# it takes, less those that change the grid or the pixels' meaning (TILING_SCHEME, TARGET_SRS,
# RES, EXTENT, NBITS, ...). GDAL only warns about a wrong name, and BLOCKSIZE=abc aborts it.
_OPTIONS: dict[str, range | tuple[str, ...]] = {
    "BIGTIFF": ("YES", "NO", "IF_NEEDED", "IF_SAFER"),
    "BLOCKSIZE": range(128, 513, 16),
    "COMPRESS": tuple(_CODECS.split()),
    "GEOTIFF_VERSION": ("AUTO", "1.0", "1.1"),
    "LEVEL": range(1, 23),
    "NUM_THREADS": ("ALL_CPUS", *map(str, range(1, 257))),
    "OVERVIEWS": ("AUTO", "IGNORE_EXISTING"),
    "OVERVIEW_COMPRESS": ("AUTO", *_CODECS.split()),
    "OVERVIEW_COUNT": range(1, 31),
    "OVERVIEW_PREDICTOR": ("YES", "NO", "STANDARD"),
    "OVERVIEW_QUALITY": range(1, 101),
    "OVERVIEW_RESAMPLING": (
        *("NEAREST", "AVERAGE", "BILINEAR", "CUBIC", "CUBICSPLINE", "LANCZOS", "MODE", "RMS"),
    ),
    "PREDICTOR": ("YES", "NO", "STANDARD"),
    "QUALITY": range(1, 101),
    "SPARSE_OK": ("TRUE", "FALSE", "YES", "NO"),
    "STATISTICS": ("AUTO", "YES", "NO"),
}


def check_options(profile: str, creation_options: Sequence[str] = ()) -> dict[str, str]:
    """The COG driver's creation options for a profile and ``NAME=VALUE`` strings that override it.

    Raises UsageError for an unknown profile, an option that the driver does not have or that would
    change the grid, and a value that it does not take.
    """
    if profile not in PROFILES:
        raise UsageError(f"no COG profile {profile!r}: the profiles are {', '.join(PROFILES)}")
    options = {
        "BLOCKSIZE": "512",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
        "OVERVIEW_RESAMPLING": "AVERAGE",
        **PROFILES[profile],
    }
    for option in creation_options:
        name, equals, value = option.partition("=")
        name, value = name.strip().upper(), value.strip().upper()
        if not equals or name not in _OPTIONS:
            raise UsageError(
                f"no creation option {option!r}: give NAME=VALUE, where NAME is one of "
                f"{', '.join(_OPTIONS)}"
            )
        if value not in map(str, _OPTIONS[name]):
            raise UsageError(f"{name} cannot be {value!r}: it takes {_describe(_OPTIONS[name])}")
        options[name] = value
    codec = options["COMPRESS"]
    for name in {option.partition("=")[0].strip().upper() for option in creation_options}:
        if codec not in _NEEDS.get(name, codec).split():
            raise UsageError(f"{name} does nothing with {codec}: it is for {_NEEDS[name]}")
    if codec not in _NEEDS["PREDICTOR"].split():
        options.pop("PREDICTOR", None)
    if codec in ("DEFLATE", "LERC_DEFLATE", "LZMA") and int(options.get("LEVEL", 1)) > 9:
        raise UsageError(f"LEVEL cannot be {options['LEVEL']} with {codec}: it takes 1 to 9")
    return options


def _describe(values: range | tuple[str, ...]) -> str:
    if isinstance(values, range):
        step = f" in steps of {values.step}" if values.step > 1 else ""
        return f"{values[0]} to {values[-1]}{step}"
    return ", ".join(values[:11])


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
    options = check_options(profile, creation_options)
    chosen = any(option.strip().upper().startswith("BLOCKSIZE") for option in creation_options)
    options |= _layout(source, options, None if chosen else (512, 256, 128))
    log.debug("COG: %s with %s", target.name, options)
    try:
        with gdal():
            rasterio.shutil.copy(str(source), str(target), driver="COG", **options)
        levels = _check_cog(target, lossless=options["COMPRESS"] in _LOSSLESS)
        with target.open("rb") as file:
            os.fsync(file.fileno())
        log.info("COG: %.2f MB, %d overviews, valid", target.stat().st_size / 1e6, levels)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        for left in target.parent.glob(f"{_escape(target.name)}.*"):
            left.unlink(missing_ok=True)


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


def _check_cog(path: Path, lossless: bool) -> int:
    """Number of overviews; OSError unless it is strictly valid, has them and holds every pixel."""
    with gdal():
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        with rasterio.open(path) as dataset:
            overviews, side = dataset.overviews(1), max(dataset.shape)
            tags = [dataset.tags(band) for band in dataset.indexes]
    if not valid or (side > 512 and not overviews):
        raise OSError(f"no valid COG: {'; '.join([*errors, *warnings]) or 'overviews are missing'}")
    for band, counts in enumerate(histogram(path)):
        expected = tags[band].get("STATISTICS_MEAN")
        if lossless and expected is not None:
            mean = statistics(counts)["STATISTICS_MEAN"]
            if not np.isclose(mean, float(expected), rtol=1e-9, atol=0):
                raise OSError(f"band {band + 1} differs from the working raster")
    return len(overviews)
