"""What a running job yields: one small frozen record that bars, JSON lines and QGIS loop over."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """Progress of one stage of a job.

    ``done`` of ``total`` units of ``stage`` are finished; ``figures`` holds numbers worth showing
    beside it (a loss, a rate), keyed by a short name; ``notes`` are sentences that the user should
    read now, each given once.
    """

    stage: str
    done: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def drain(job: Generator[Step, None, T]) -> T:
    """Run a job to its end without looking at its steps; returns the job's value."""
    while True:
        try:
            next(job)
        except StopIteration as end:
            value: T = end.value
            return value
