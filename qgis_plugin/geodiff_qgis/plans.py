"""What `geodiff synthesize --dry-run --json` says, as a record; no QGIS here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONG = 600.0
"""Seconds from which a run is asked about first."""
HEAVY = 2000.0
"""MB of disk from which a run is asked about first."""


@dataclass(frozen=True)
class Plan:
    """The grid and the cost of a mosaic."""

    width: int
    height: int
    crs: str | None  # of the grid; None: pixel coordinates
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
