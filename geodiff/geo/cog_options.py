"""The creation options of GDAL's COG driver: named sets of them, and what is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from geodiff.errors import UsageError

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
LOSSLESS = ("NONE", "LZW", "DEFLATE", "ZSTD", "LZMA")
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
