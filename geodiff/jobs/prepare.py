"""Rasters and image folders -> a training set: equal patches, footprints, splits by place."""

from __future__ import annotations

import csv
import glob
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from shapely import Polygon

from geodiff.errors import DataError, UsageError
from geodiff.geo.grid import dataset_grid
from geodiff.geo.source import open_raster
from geodiff.jobs.dataset import write_set
from geodiff.steps import Step

SUFFIXES = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".vrt", ".jp2")


@dataclass(frozen=True)
class PrepareConfig:
    """How rasters are cut."""

    patch: int = 256  # pixels a side
    stride: int | None = None  # pixels between patches; None: the patch size
    gsd: float | None = None  # metres per pixel of sources without a CRS
    res: float | None = None  # resample to this many metres per pixel first
    split_table: str | None = None  # CSV with a column name and a column split and/or label
    place: str = "(.+)"  # regular expression on the file stem; its first group names the place
    val_fraction: float = 0.1  # share of places set aside where the table names no split
    exclude: str | None = None  # regular expression of file stems to leave out

    def __post_init__(self) -> None:
        if self.patch < 16 or (self.stride is not None and self.stride < 1):
            raise UsageError(f"patch {self.patch} must be at least 16 and stride at least 1")
        if not 0 <= self.val_fraction < 1:
            raise UsageError(f"val_fraction {self.val_fraction} must be in 0..1")
        for name, metres in (("gsd", self.gsd), ("res", self.res)):
            if metres is not None and not 0 < metres < float("inf"):
                raise UsageError(f"{name} {metres} must be above 0 (metres per pixel)")
        if pattern("place", self.place).groups < 1:
            raise UsageError(f"place {self.place!r} has no group: put the place in parentheses")
        pattern("exclude", self.exclude or "")


def pattern(name: str, text: str) -> re.Pattern[str]:
    """A compiled regular expression; UsageError, with the option's ``name``, where it is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"{name} {text!r} is no regular expression: {error}") from error


def prepare(sources: Sequence[str], out: str | Path, config: PrepareConfig) -> Iterator[Step]:
    """Cut ``sources`` (files, folders, globs) into patches and write them into the folder ``out``.

    Writes pixels.npy (uint8, (patch, height, width, band)) and patches.parquet (GeoParquet), and
    replaces what was there. Patches with nodata and exact duplicates are left out. Raises DataError
    without any patch, where sources differ by more than 5 % in metres per pixel, or where the table
    puts a place into both splits; OutputError where the folder cannot be written.
    """
    files = find(sources, config)
    table = read_table(config.split_table)
    if table and not any(path.stem in table for path in files):
        raise DataError(
            f"{config.split_table} names none of the {len(files)} files: its column 'name' should "
            f"hold names without suffix, such as {files[0].stem}"
        )
    rows: list[dict[str, object]] = []
    pixels: list[NDArray[np.uint8]] = []
    seen: set[bytes] = set()
    for number, path in enumerate(files, start=1):
        for patch, row in cut(path, config, table):
            digest = hashlib.blake2b(patch.tobytes(), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                pixels.append(patch)
                rows.append(row)
        yield Step("prepare", number, len(files), {"patches": len(rows)})
    if not rows:
        raise DataError(
            f"no patch of {config.patch} px came out of {len(files)} files: they may be smaller "
            "than the patch or full of nodata"
        )
    facts = gpd.GeoDataFrame(rows, geometry="geometry", crs="EPSG:4326")
    check_facts(facts)
    write_set(Path(out), pixels, facts)


def check_facts(table: gpd.GeoDataFrame) -> None:
    """Raises DataError where patches differ in metres per pixel, or a place is in both splits."""
    low, high = table["gsd"].min(), table["gsd"].max()
    if high > 1.05 * low:
        raise DataError(
            f"the sources have {low:.3g} to {high:.3g} m per pixel: prepare each size into its own "
            "folder, or give --res to resample them to one"
        )
    sides = table.groupby("place")["split"].nunique()
    if (sides > 1).any():
        raise DataError(
            f"the place {sides.idxmax()} is in more than one split: give it one split in the "
            "table, or name places so that they differ (--place)"
        )


def find(sources: Sequence[str], config: PrepareConfig) -> list[Path]:
    """Raster files of folders, globs and paths, sorted. Raises DataError if there is none."""
    files: set[Path] = set()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files |= {p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES}
        else:
            files |= {Path(p) for p in glob.glob(source, recursive=True)}
    skip = re.compile(config.exclude) if config.exclude else None
    chosen = sorted(p for p in files if not (skip and skip.search(p.stem)))
    if not chosen:
        raise DataError(f"no raster found in {', '.join(sources)}")
    return chosen


def read_table(path: str | None) -> dict[str, dict[str, str]]:
    """CSV rows by their column ``name``; an empty table for None."""
    if path is None:
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table {path}: {error}") from error
    if rows and "name" not in rows[0]:
        raise UsageError(f"{path} has no column 'name'; its columns are {', '.join(rows[0])}")
    return {row["name"]: row for row in rows}


def cut(
    path: Path, config: PrepareConfig, table: dict[str, dict[str, str]]
) -> Iterator[tuple[NDArray[np.uint8], dict[str, object]]]:
    """Patches of one raster as uint8 (height, width, band) with their row of facts."""
    match = re.fullmatch(config.place, path.stem)
    facts = table.get(path.stem, {})
    place = facts.get("location") or (match and match.group(1)) or path.stem
    split = facts.get("split") or split_of(place, config.val_fraction)
    step = config.stride or config.patch
    image, valid, gsd, affine, crs = read(path, config)
    for row in range(0, image.shape[0] - config.patch + 1, step):
        for col in range(0, image.shape[1] - config.patch + 1, step):
            at = np.s_[row : row + config.patch, col : col + config.patch]
            if not valid[at].all():
                continue
            yield (
                image[at],
                {
                    "name": f"{path.stem}_{row}_{col}",
                    "source": str(path),
                    "place": place,
                    "split": split,
                    "label": facts.get("label"),
                    "gsd": gsd,
                    "geometry": footprint(affine, crs, row, col, config.patch),
                },
            )


def read(
    path: Path, config: PrepareConfig
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], float, rasterio.Affine, rasterio.CRS | None]:
    """Pixels (height, width, 3), validity, gsd in metres, affine and CRS, resampled to ``res``."""
    with open_raster(path) as src:
        if src.count < 3 or src.dtypes[0] != "uint8":
            raise DataError(
                f"{path} has {src.count} bands of {src.dtypes[0]}; 3 bands of uint8 are needed"
            )
        gsd = config.gsd if src.crs is None else ground_distance(src)
        if gsd is None:
            raise UsageError(f"{path} has no CRS: give its metres per pixel with --gsd")
        zoom = gsd / config.res if config.res else 1.0
        shape = (max(1, round(src.height * zoom)), max(1, round(src.width * zoom)))
        method = Resampling.average if zoom < 1 else Resampling.cubic
        image = src.read((1, 2, 3), out_shape=(3, *shape), resampling=method)
        valid = validity(src, shape)
        a, _, left, _, e, top = tuple(src.transform)[:6]
        wider, taller = src.width / shape[1], src.height / shape[0]
        affine = rasterio.Affine(a * wider, 0.0, left, 0.0, e * taller, top)
        return np.moveaxis(image, 0, -1), valid, config.res or gsd, affine, src.crs


def validity(src: rasterio.DatasetReader, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels hold data. An "alpha" band of many values is near-infrared, as in NAIP chips."""
    if MaskFlags.alpha in src.mask_flag_enums[0]:
        band = src.colorinterp.index(ColorInterp.alpha) + 1
        alpha = src.read(band, out_shape=shape)
        if np.isin(alpha, (0, 255)).mean() < 0.99:
            return np.ones(shape, bool)
    return np.asarray(src.dataset_mask(out_shape=shape) > 0)


def ground_distance(src: rasterio.DatasetReader) -> float | None:
    """True ground metres per pixel. Raises DataError for degrees and grids that are not north-up.

    Web Mercator's pixels are converted at the raster's centre.
    """
    if src.crs.is_geographic:
        raise DataError(
            f"{src.name} is in degrees; reproject the training raster to a projected CRS"
        )
    return dataset_grid(src).gsd


def split_of(place: str, val_fraction: float) -> str:
    """'val' for a stable share of places, chosen by a hash of the name; else 'train'."""
    digest = hashlib.blake2b(place.encode(), digest_size=8).digest()
    return "val" if int.from_bytes(digest, "big") / 2**64 < val_fraction else "train"


def footprint(
    affine: rasterio.Affine, crs: rasterio.CRS | None, row: int, col: int, size: int
) -> Polygon | None:
    """Outline of a patch in EPSG:4326, or None without a CRS."""
    if crs is None:
        return None
    left, top = affine.c + affine.a * col, affine.f + affine.e * row
    right, bottom = left + affine.a * size, top + affine.e * size
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform([left, right, right, left], [top, top, bottom, bottom])
    return Polygon(zip(lon, lat, strict=True))
