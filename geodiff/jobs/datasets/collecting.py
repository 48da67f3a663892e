"""Parts of many sources -> one table of patches, without duplicates, and its summary."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from shapely import from_wkb

from geodiff.errors import DataError
from geodiff.jobs.datasets.config import PrepareConfig
from geodiff.jobs.datasets.likeness import Key, Seen
from geodiff.jobs.datasets.parts import Part
from geodiff.jobs.datasets.scenes import Source
from geodiff.jobs.datasets.tables import Tables

CONTACT = "contact.png"
"""Name of the contact sheet in the folder of a set."""

SHOWN = 64
"""Patches on the contact sheet."""


@dataclass
class Collected:
    """Rows of the patches that stay, where their pixels are, and how many were left out why."""

    config: PrepareConfig
    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: list[tuple[Part, list[int]]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    distances: dict[float, str] = field(default_factory=dict)  # a source of each

    def __post_init__(self) -> None:
        self.seen = Seen(self.fetch, not self.config.keep_near)

    def fetch(self, key: Key) -> NDArray[np.uint8]:
        """Pixels of a patch of one of the parts."""
        pixels: NDArray[np.uint8] = self.kept[key[0]][0].pixels(self.config.patch)[key[1]]
        return pixels

    def add(self, part: Part, source: Source, tables: Tables) -> None:
        """Take the patches of one source; sources come in a fixed order.

        Raises DataError where sources differ by more than 5 % in metres per pixel.
        """
        for row in part.rows:
            self.distances.setdefault(row["gsd"], source.name)
        low, high = min(self.distances, default=1.0), max(self.distances, default=1.0)
        if high > 1.05 * low:
            raise DataError(
                f"the sources have {low:.3g} m per pixel ({self.distances[low]}) to {high:.3g} "
                f"({self.distances[high]}): prepare each size into its own folder, leave one out "
                "with --exclude, or give --res to resample them to one"
            )
        for reason, count in part.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
        facts = {} if source.path is None else tables.of(source.path)
        config = self.config
        match = re.fullmatch(config.place, source.name)
        stem = (match and match.group(1)) or source.name
        kept: list[int] = []
        self.kept.append((part, kept))
        for number, (row, picture) in enumerate(zip(part.rows, part.likenesses(), strict=True)):
            known = self.seen.add(picture, (len(self.kept) - 1, number))
            if known:
                self.skipped[known] = self.skipped.get(known, 0) + 1
                continue
            place = facts.get("location") or row["block"] or stem
            label = facts.get("label") or None
            kept.append(number)
            self.rows.append(
                {
                    "name": row["name"],
                    "source": source.title,
                    "place": place,
                    "split": facts.get("split") or split_of(place, config.val_fraction),
                    "label": label,
                    "label_id": tables.ids.get(label) if label else None,
                    "gsd": row["gsd"],
                    "datetime": source.datetime,
                    "crs": row["crs"],
                    "row": row["row"],
                    "col": row["col"],
                    "geometry": None if row["outline"] is None else from_wkb(row["outline"]),
                }
            )

    def table(self) -> gpd.GeoDataFrame:
        """One row a patch, in EPSG:4326."""
        table = gpd.GeoDataFrame(self.rows, geometry="geometry", crs="EPSG:4326")
        return table.astype({name: "Int64" for name in ("label_id", "row", "col")})

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """The patches in the order of the rows, uint8 (height, width, 3), read one by one."""
        for part, kept in self.kept:
            stored = part.pixels(self.config.patch)
            for number in kept:
                yield stored[number]

    def sample(self) -> list[NDArray[np.uint8]]:
        """At most `SHOWN` patches, evenly spread."""
        chosen = set(np.linspace(0, len(self.rows) - 1, min(SHOWN, len(self.rows))).astype(int))
        start, pictures = 0, []
        for part, kept in self.kept:
            wanted = [number for place, number in enumerate(kept, start) if place in chosen]
            if wanted:
                stored = part.pixels(self.config.patch)
                pictures += [np.array(stored[number]) for number in wanted]
            start += len(kept)
        return pictures


@dataclass(frozen=True)
class Summary:
    """What was prepared: counts of patches, places and labels, and of patches left out."""

    path: str
    patch: int  # pixels a side
    gsd: float  # metres per pixel, median
    train: int
    val: int
    places: int
    sources: int
    labels: dict[str, int]
    skipped: dict[str, int]
    contact: str  # path of the contact sheet

    @classmethod
    def of(
        cls, out: Path, table: gpd.GeoDataFrame, patch: int, sources: int, skipped: dict[str, int]
    ) -> Summary:
        """The summary of a table of patches."""
        splits = table["split"].value_counts()
        labels = {str(k): int(v) for k, v in table["label"].value_counts().items()}
        return cls(
            path=str(out),
            patch=patch,
            gsd=float(table["gsd"].median()),
            train=int(splits.get("train", 0)),
            val=int(splits.get("val", 0)),
            places=int(table["place"].nunique()),
            sources=sources,
            labels=dict(sorted(labels.items())),
            skipped=dict(sorted(skipped.items())),
            contact=str(out / CONTACT),
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def check_places(table: gpd.GeoDataFrame) -> None:
    """Raises DataError where a place is in both splits."""
    sides = table.groupby("place")["split"].nunique()
    if (sides > 1).any():
        raise DataError(
            f"the place {sides.idxmax()} is in more than one split: give it one split in the "
            "table, or name places so that they differ (--place)"
        )


def split_of(place: str, val_fraction: float) -> str:
    """'val' for a stable share of places, chosen by a hash of the name; else 'train'."""
    digest = hashlib.blake2b(place.encode(), digest_size=8).digest()
    return "val" if int.from_bytes(digest, "big") / 2**64 < val_fraction else "train"
