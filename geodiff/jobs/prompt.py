"""Words of a user -> what a model's prior is asked for; refused early where that cannot be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geodiff.errors import UsageError
from geodiff.models.shipped import shipped_path
from geodiff.models.text import GUIDANCE, TextEncoder, check_installed, check_text

if TYPE_CHECKING:
    from geodiff.models.bundle import Model
    from geodiff.models.prior_condition import Condition


@dataclass(frozen=True)
class Prompt:
    """A text for a whole mosaic, and how strictly the prior follows it.

    Raises UsageError for a text that is empty or too long and for a guidance out of range.
    """

    text: str
    guidance: float | None = None  # None: the default of priors

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", check_text("--text", self.text))
        if self.guidance is not None and not 0 <= self.guidance <= 20:
            raise UsageError(f"--prompt-guidance {self.guidance:g} must be between 0 and 20")

    @property
    def scale(self) -> float:
        """The guidance in force."""
        return GUIDANCE if self.guidance is None else self.guidance

    @property
    def words(self) -> str:
        """The prompt for a plan or a tag: the text, and a guidance that is not the default."""
        told = "" if self.scale == GUIDANCE else f", prompt guidance {self.scale:g}"
        return f'text "{self.text}"{told}'

    def check(self, model: str | None) -> None:
        """Refuse what the model (a directory, None: the shipped one) cannot do; loads no network.

        Raises UsageError for a prior without texts and ModelError where the extra ``text`` is
        missing. A directory that is no model is left to its own error.
        """
        folder = shipped_path() if model is None else Path(model)
        try:
            facts = json.loads((folder / "prior" / "prior.json").read_text(encoding="utf-8"))
            name = str(facts.get("text") or "")
        except (OSError, ValueError, AttributeError):
            return
        if not name:
            raise UsageError(
                f"the prior of the model {folder.name} was trained without texts: leave out "
                "--text, or give a --model whose prior knows words (see `geodiff info`)"
            )
        check_installed(name)

    def condition(self, model: Model) -> Condition:
        """What the prior is asked for, everywhere. Raises as :meth:`check` does."""
        from geodiff.models.prior_condition import Condition

        self.check(str(model.path))
        vector = TextEncoder.load(model.prior.text).embed([self.text])[0]
        return Condition.everywhere(vector, guidance=self.scale)
