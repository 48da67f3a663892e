"""What `geodiff synthesize --dry-run --json` says, as a record; no QGIS here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONG = 600.0
"""Seconds from which a run is asked about first."""
HEAVY = 2000.0
"""MB of disk from which a run is asked about first."""

COUNTABLE = 4000.0
"""Megapixels up to which geodiff's own plan comes in a moment."""
SECONDS, EVALUATIONS = 12.0, 555.0
"""Of a megapixel in charts and mode balanced, on two cores without a GPU."""
WORK = {"fast": 0.7, "quality": 3.1, "paper": 59.0}
"""Evaluations of the other modes in charts, balanced being 1."""


@dataclass(frozen=True)
class Plan:
    """The grid and the cost of a mosaic."""

    width: int
    height: int
    crs: str | None  # of the grid; None: pixel coordinates; empty: not known yet
    bounds: tuple[float, float, float, float]  # west, south, east, north in the CRS
    gsd: float  # metres a pixel
    evaluations: int
    seconds: float
    memory_mb: float
    disk_mb: float
    charts: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Plan:
        """The plan that geodiff printed; raises ValueError for anything else."""
        try:
            west, south, east, north = map(float, facts["bounds"])
            return cls(
                width=int(facts["width"]),
                height=int(facts["height"]),
                crs=facts["crs"],
                bounds=(west, south, east, north),
                gsd=float(facts["gsd"]),
                evaluations=int(facts["evaluations"]),
                seconds=float(facts["seconds"]),
                memory_mb=float(facts["memory_mb"]),
                disk_mb=float(facts["disk_mb"]),
                charts=int(facts["charts"]),
                notes=tuple(map(str, facts["notes"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"geodiff's plan has no usable {error}") from error

    @classmethod
    def rough(cls, width_m: float, height_m: float, gsd: float, mode: str | None) -> Plan | None:
        """A guess for a very large box, at once; None for a smaller one.

        It has no place on the grid: only the snapped box of a real plan is shown on the map.
        """
        width, height = round(width_m / gsd), round(height_m / gsd)
        megapixels = width * height / 1e6
        if megapixels < COUNTABLE:
            return None
        return cls(
            width=width,
            height=height,
            crs="",
            bounds=(0.0, 0.0, 0.0, 0.0),
            gsd=gsd,
            evaluations=round(EVALUATIONS * megapixels),
            seconds=SECONDS * WORK.get(mode or "balanced", 1.0) * megapixels,
            memory_mb=1000.0,
            disk_mb=6 * megapixels,
            charts=math.ceil(width / 2048) * math.ceil(height / 2048),
            notes=(),
        )

    @property
    def is_large(self) -> bool:
        """Whether the user should be asked before it starts."""
        return self.seconds > LONG or self.disk_mb > HEAVY


def room(megabytes: float) -> str:
    """MB below one GB, else GB or TB."""
    if megabytes < 1000:
        return f"{max(1, round(megabytes))} MB"
    if megabytes < 1e6:
        return f"{megabytes / 1e3:.1f} GB"
    return f"{megabytes / 1e6:.1f} TB"
