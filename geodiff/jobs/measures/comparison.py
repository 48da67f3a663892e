"""Two models on the same held-out images: which one is better, and is the difference clear?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from geodiff.errors import UsageError
from geodiff.jobs.measures.distances import Distances
from geodiff.jobs.measures.rows import Row

CLEAR = 2.0
"""Standard errors (of pairs), or standard deviations (of halves), that make a difference clear."""


@dataclass(frozen=True)
class Contrast:
    """One figure of both models. ``difference`` is ours less theirs, ``spread`` its own."""

    figure: str
    ours: float
    theirs: float
    difference: float
    spread: float | None
    better: bool  # ours
    clear: bool  # the difference is more than twice its spread


@dataclass(frozen=True)
class Verdict:
    """The rule by which a model may take another's place, applied to one row.

    It must have the higher embedding similarity, the lower Fréchet distance of patches and, where
    large images were painted, the lower one of their crops. Both models are judged in ``space``:
    the encoder's if they share it, else a network that neither of them knows.
    """

    ours: str
    theirs: str
    source: str
    space: str
    contrasts: tuple[Contrast, ...]

    @property
    def better(self) -> bool:
        """Whether our model is better in every figure."""
        return all(contrast.better for contrast in self.contrasts)

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        won = [c.figure for c in self.contrasts if c.better]
        lost = [c.figure for c in self.contrasts if not c.better]
        unclear = [c.figure for c in self.contrasts if not c.clear]
        doubt = f"; not clearly in {', '.join(unclear)}" if unclear else ""
        where = f"on {self.source}, judged in {self.space}{doubt}"
        if not lost:
            return f"{self.ours} is better than {self.theirs} in {', '.join(won)} {where}"
        if not won:
            return f"{self.ours} is no better than {self.theirs} in {', '.join(lost)} {where}"
        return (
            f"neither is better in everything: {self.ours} in {', '.join(won)}, {self.theirs} in "
            f"{', '.join(lost)} {where}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return asdict(self) | {"better": self.better, "words": self.words}


def judge(names: Sequence[str]) -> str:
    """The space of ``names`` that judges models with different encoders.

    Raises UsageError where there is none but the encoder's own.
    """
    others = [name for name in names if name != "encoder"]
    if not others:
        raise UsageError(
            "the two models have different encoders, so neither may judge: give --features "
            "efficientnet-lite0 (or inception, clip, dinov2) as well"
        )
    return others[0]


def compare(ours: str, theirs: str, row: Row, other: Row, space: str) -> Verdict:
    """Hold two rows of the same images side by side in ``space``."""
    one, two = named(row.patch, space), named(other.patch, space)
    contrasts = [
        higher("similarity", one.similarity, two.similarity, paired(one, two)),
        lower("Fréchet distance", one.frechet, two.frechet, by_halves(one, two)),
    ]
    if row.large is not None and other.large is not None:
        a, b = named(row.large.crops, space), named(other.large.crops, space)
        contrasts.append(lower("crop distance", a.frechet, b.frechet, by_halves(a, b)))
    return Verdict(ours, theirs, row.source, one.space, tuple(contrasts))


def named(parts: Sequence[Distances], space: str) -> Distances:
    """The figures in the space of that name."""
    return next(part for part in parts if part.space == space)


def paired(one: Distances, two: Distances) -> float | None:
    """Standard error of the difference of similarities over the same images."""
    gaps = np.subtract(one.each, two.each)
    return float(np.std(gaps) / len(gaps) ** 0.5) if len(gaps) > 1 else None


def by_halves(one: Distances, two: Distances) -> float | None:
    """Standard deviation of the difference of Fréchet distances over the same halves."""
    gaps = np.subtract(one.halves, two.halves)
    return float(np.std(gaps)) if len(gaps) > 1 else None


def higher(figure: str, ours: float, theirs: float, spread: float | None) -> Contrast:
    """A figure that should be large."""
    return contrast(figure, ours, theirs, spread, ours > theirs)


def lower(figure: str, ours: float, theirs: float, spread: float | None) -> Contrast:
    """A figure that should be small."""
    return contrast(figure, ours, theirs, spread, ours < theirs)


def contrast(
    figure: str, ours: float, theirs: float, spread: float | None, better: bool
) -> Contrast:
    """Both figures with their difference."""
    gap = ours - theirs
    clear = spread is not None and abs(gap) > CLEAR * spread
    return Contrast(figure, ours, theirs, gap, spread, better, clear)
