"""What `geodiff prepare` is asked for, and what can be refused at once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from geodiff.errors import UsageError
from geodiff.geo.catalogues import KNOWN, SECONDS
from geodiff.geo.search import Search
from geodiff.jobs.datasets.scenes import Cut

STAC_BLOCK = 2000.0
"""Metres a side of the places that a STAC search is divided into."""


@dataclass(frozen=True)
class PrepareConfig:
    """What is cut, and how."""

    patch: int = 256  # pixels a side
    stride: int | None = None  # pixels between patches; None: the patch size
    gsd: float | None = None  # metres per pixel of sources without a CRS
    res: float | None = None  # resample to this many metres per pixel first
    block: float | None = None  # metres a side of places: cut on the lattice of the world
    bands: tuple[int, int, int] | None = None  # red, green and blue, from 1
    scale: tuple[float, float] | None = None  # values that become 0 and 255
    split_table: str | None = None  # CSV with a column name and a column split and/or label
    labels: str | None = None  # CSV with a column path or name, label and perhaps label_id
    place: str = "(.+)"  # regular expression on the file stem; its first group names the place
    val_fraction: float = 0.1  # share of places set aside where the table names no split
    exclude: str | None = None  # regular expression of file stems to leave out
    keep_near: bool = False  # keep near duplicates; exact ones never are
    workers: int = 1  # sources read at a time
    stac: str | None = None  # a STAC API or catalogue to search instead of sources
    collection: tuple[str, ...] = ()  # its collections
    bbox: tuple[float, float, float, float] | None = None  # west, south, east, north in degrees
    datetime: str | None = None  # a date or A/B
    asset: str | None = None  # the asset with the pixels, or three between commas
    max_items: int | None = None
    stac_timeout: float = SECONDS  # seconds that the catalogue has for an answer
    stac_any_href: bool = False  # read what a remote catalogue should not point to, such as files

    def __post_init__(self) -> None:
        if self.patch < 16 or (self.stride is not None and self.stride < 1):
            raise UsageError(f"patch {self.patch} must be at least 16 and stride at least 1")
        if not 0 <= self.val_fraction < 1:
            raise UsageError(f"val_fraction {self.val_fraction} must be in 0..1")
        for name, metres in (("gsd", self.gsd), ("res", self.res), ("block", self.block)):
            if metres is not None and not 0 < metres < float("inf"):
                raise UsageError(f"{name} {metres} must be above 0 (metres per pixel)")
        if pattern("place", self.place).groups < 1:
            raise UsageError(f"place {self.place!r} has no group: put the place in parentheses")
        pattern("exclude", self.exclude or "")
        if self.workers < 1:
            raise UsageError(f"workers {self.workers} must be at least 1")
        only = ("collection", "bbox", "datetime", "asset", "max_items", "stac_any_href")
        useless = [name for name in only if getattr(self, name) and self.stac is None]
        if useless:
            raise UsageError(f"--{useless[0].replace('_', '-')} needs --stac URL")
        self.search()

    def search(self) -> Search | None:
        """The STAC search, if one is asked for."""
        if self.stac is None:
            return None
        url = KNOWN.get(self.stac, self.stac)
        given = self.collection, self.bbox, self.datetime, self.asset, self.max_items
        return Search(url, *given, self.stac_timeout, self.stac_any_href)

    def cut(self) -> Cut:
        """How sources are read."""
        block = self.block or (STAC_BLOCK if self.stac else None)
        return Cut(self.patch, self.gsd, self.res, block, self.bands, self.scale)


def pattern(name: str, text: str) -> re.Pattern[str]:
    """A compiled regular expression; UsageError, with the option's ``name``, where it is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"{name} {text!r} is no regular expression: {error}") from error
