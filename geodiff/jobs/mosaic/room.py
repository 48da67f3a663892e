"""Whether a mosaic fits into the memory and onto the disk, before anything is painted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from geodiff.errors import DataError
from geodiff.geo.journal import folder_of
from geodiff.jobs.plan import Plan

LEAST_SQUEEZED = 0.3
"""Share of its uncompressed size that a mosaic surely takes; README's takes 0.77."""


def check_room(plan: Plan, out: str) -> None:
    """Raises DataError where the mosaic would not fit into the memory or onto the disk of ``out``.

    Of the disk only what is needed for certain: compression is not known beforehand.
    """
    there_already = sum(part.stat().st_size for part in folder_of(Path(out)).glob("*.tif")) / 1e6
    needed = LEAST_SQUEEZED * plan.disk_mb - there_already
    free = shutil.disk_usage(Path(out).parent).free / 1e6
    if needed > free:
        height, width = plan.grid.window.shape
        raise DataError(
            f"a mosaic of {width} x {height} px needs at least {needed / 1000:.3g} GB of disk "
            f"while it is written, {Path(out).parent} has {free / 1000:.3g} GB: ask for a smaller "
            "box, a larger --res or another --out"
        )
    there = memory_mb()
    if plan.memory_mb > there:
        height, width = plan.grid.window.shape
        raise DataError(
            f"a mosaic of {width} x {height} px needs about {plan.memory_mb:.0f} MB of memory, "
            f"this machine has {there:.0f} MB: ask for a smaller box or a larger --res"
        )


def memory_mb() -> float:
    """Physical memory of the machine; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (AttributeError, OSError, ValueError):
        return float("inf")
