"""What the cells of a grid should show: words, a label, both or nothing, cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodiff.models.text import GUIDANCE
from geodiff.window import Window

Where = Callable[[Window], NDArray[np.intp]]
"""(window of cells) -> int (row, col): number of the wish at each cell, -1 for none."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What a cell should show: ``text`` is float32 (text_dim,), a unit vector of the prior's text
    encoder; ``label`` a name that the prior was trained with. Either may be None."""

    text: NDArray[np.float32] | None = None
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Condition:
    """Wishes and where they hold; ``where`` None: the first one everywhere.

    ``where`` must be a pure function of the position on the lattice of cells. ``guidance`` 1
    follows the wishes plainly, more exaggerates them. Raises ValueError without a wish.
    """

    wishes: tuple[Wish, ...]
    where: Where | None = None
    guidance: float = GUIDANCE

    def __post_init__(self) -> None:
        if not self.wishes:
            raise ValueError("a condition needs at least one wish")

    @classmethod
    def everywhere(
        cls,
        text: NDArray[np.float32] | None = None,
        label: str | None = None,
        guidance: float = GUIDANCE,
    ) -> Condition:
        """One wish for all cells."""
        return cls((Wish(text, label),), guidance=guidance)

    def numbers(self, cells: Window) -> NDArray[np.intp]:
        """Number of the wish at each cell of ``cells``, -1 for none: int (row, col).

        Raises ValueError where ``where`` answers in another shape or with a wish that is not there.
        """
        if self.where is None:
            return np.zeros(cells.shape, np.intp)
        found = np.asarray(self.where(cells), np.intp)
        if found.shape != cells.shape or found.min() < -1 or found.max() >= len(self.wishes):
            raise ValueError(
                f"wishes for {cells.height} x {cells.width} cells must have that shape and numbers "
                f"from -1 to {len(self.wishes) - 1}, got {found.shape}, {found.min()} to "
                f"{found.max()}"
            )
        return found
