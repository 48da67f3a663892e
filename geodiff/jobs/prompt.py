"""Words of a user -> what a model's prior is asked for; refused early where that cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geodiff.errors import UsageError
from geodiff.models.locate import locate
from geodiff.models.shipped import SHIPPED
from geodiff.models.text import GUIDANCE, TextEncoder, check_installed, check_text

if TYPE_CHECKING:
    from geodiff.models.bundle import Model
    from geodiff.models.prior_condition import Condition, Wish


@dataclass(frozen=True)
class Prompt:
    """A text for a whole mosaic, and how strictly the prior follows it.

    A text that is one of the prior's labels, letter for letter, is asked for as that label.
    Raises UsageError for a text that is empty or too long and for a guidance out of range.
    """

    text: str
    guidance: float | None = None  # None: the default of priors

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", check_text("--text", self.text))
        check_guidance(self.guidance)

    @property
    def scale(self) -> float:
        """The guidance in force."""
        return GUIDANCE if self.guidance is None else self.guidance

    @property
    def words(self) -> str:
        """The prompt for a plan or a tag: the text, and a guidance that is not the default."""
        return f'text "{self.text}"{guidance_words(self.guidance)}'

    def check(self, model: str | None) -> None:
        """Refuse what the model (a directory, None: the shipped one) cannot do; loads no network.

        Raises UsageError for a prior without texts and ModelError where the extra ``text`` is
        missing, unless the text is a label. A directory that is no model is left to its own error.
        """
        name, labels = vocabulary(model)
        if name is not None and self.text not in labels:
            check_words("--text", name, model)

    def condition(self, model: Model) -> Condition:
        """What the prior is asked for, everywhere. Raises as :meth:`check` does."""
        from geodiff.models.prior_condition import Condition

        return Condition(wishes_of(model, [self.text], "--text"), guidance=self.scale)


def vocabulary(model: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The text encoder ("" for none) and the labels of a model's prior; loads no network.

    The encoder is None for a directory that is no model: that is left to its own error.
    """
    try:
        content = (locate(model) / "prior" / "prior.json").read_text(encoding="utf-8")
        facts = json.loads(content)
        return str(facts.get("text") or ""), tuple(map(str, facts.get("labels") or ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return None, ()


def check_words(option: str, name: str, model: str | None) -> None:
    """Raises UsageError for a prior without a text encoder, ModelError for one not installed."""
    if not name:
        raise UsageError(
            f"the prior of the model {Path(model or SHIPPED).name} was trained without texts: "
            f"leave out {option}, or give a --model whose prior knows words (see `geodiff info`)"
        )
    check_installed(name)


def check_guidance(guidance: float | None) -> None:
    """Raises UsageError for a guidance out of range."""
    if guidance is not None and not 0 <= guidance <= 20:
        raise UsageError(f"--prompt-guidance {guidance:g} must be between 0 and 20")


def guidance_words(guidance: float | None) -> str:
    """A guidance that is not the default, for a plan or a tag."""
    return "" if guidance in (None, GUIDANCE) else f", prompt guidance {guidance:g}"


def wishes_of(model: Model, texts: Iterable[str], option: str) -> tuple[Wish, ...]:
    """A wish for each text: a label of the prior is asked for as such, all else in words.

    ``option`` is where the texts come from, for errors. Each text is embedded by itself: its vector
    does not depend on what else is asked for. Raises UsageError and ModelError as ``check_words``.
    """
    from geodiff.models.prior_condition import Wish

    encoder, found = None, []
    name, labels = vocabulary(str(model.path))
    for text in texts:
        if text in labels:
            found.append(Wish(label=text))
            continue
        if encoder is None:
            check_words(option, name or "", str(model.path))
            encoder = TextEncoder.load(model.prior.text)
            encoder.check(model.prior.text_mark)
        found.append(Wish(encoder.embed([text])[0]))
    return tuple(found)


def nearly_labels(model: Model, texts: Iterable[str]) -> tuple[str, ...]:
    """A note on each text that is a label but for capitals, blanks and signs.

    It is asked for in words, and words do not come out as labels do.
    """
    labels = vocabulary(str(model.path))[1]
    plain = {letters(label): label for label in labels}
    found = {text: plain[letters(text)] for text in texts if letters(text) in plain}
    return tuple(
        f'"{text}" is asked for in words; the model has a label of that name, write {label} for it'
        for text, label in found.items()
        if text != label
    )


def letters(text: str) -> str:
    """The letters and digits of a text, all small."""
    return "".join(sign for sign in text.casefold() if sign.isalnum())
