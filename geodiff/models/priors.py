"""The kinds of priors: what all of them can do, and reading one from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geodiff.errors import ModelError
from geodiff.models.diffusion_prior import DiffusionPrior
from geodiff.models.parts import UNREADABLE, unreadable
from geodiff.models.prior import AtlasPrior
from geodiff.models.prior_condition import Condition
from geodiff.window import Window


class Prior(Protocol):
    """Embedding grids of any part of the lattice of cells."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    @property
    def text(self) -> str:
        """Name of the sentence encoder whose vectors it understands; "" for none."""

    @property
    def text_mark(self) -> tuple[float, ...]:
        """Numbers by which that encoder is known again (``TextEncoder.mark``); empty: unknown."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that it was trained with."""

    def check(self, condition: Condition | None) -> None:
        """Raises UsageError for words or labels that it does not understand."""

    def sample(
        self, seed: int, cells: Window, condition: Condition | None = None, gsd: float = 0.6
    ) -> NDArray[np.float32]:
        """Unit vectors float32 (row, col, feature), a pure function of seed, condition, gsd and
        cell position: overlapping windows agree to the bit."""

    def save(self, folder: Path) -> None:
        """Write what :func:`load_prior` reads."""


KINDS: dict[str, Any] = {"atlas": AtlasPrior, "diffusion": DiffusionPrior}


def read_facts(folder: Path) -> dict[str, Any]:
    """The table in prior.json. Raises ModelError where it is missing, damaged or of another kind.

    Needs no weights, so that a request can be refused before they are loaded.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / "prior.json").read_text(encoding="utf-8"))
        kind = facts["kind"]
    except UNREADABLE as error:
        raise unreadable("prior", folder, error) from error
    if kind not in KINDS:
        raise ModelError(f"the prior in {folder} is of a kind this version does not know: {kind}")
    return facts


def load_prior(folder: Path) -> Prior:
    """Read a prior of any kind. Raises ModelError where parts are missing or misfit."""
    prior: Prior = KINDS[read_facts(folder)["kind"]].load(folder)
    return prior
