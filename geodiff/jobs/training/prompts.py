"""Patches -> sentences about them, put together from templates, labels and tables of facts."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodiff.errors import DataError, UsageError
from geodiff.jobs.datasets.dataset import PatchSet

Words = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Fact:
    """Words for patches with ``low <= value < high`` in a column of a table of facts."""

    column: str
    low: float
    high: float
    words: Sequence[str]


@dataclass(frozen=True)
class Templates:
    """Words for labels, data sets, beginnings of names and facts, and the frames around them."""

    frames: Sequence[str]
    labels: Words
    datasets: Words
    names: Words
    facts: Sequence[Fact]

    @classmethod
    def read(cls, path: str = "") -> Templates:
        """A file like the package's own, which "" means. Raises UsageError where it is not."""
        file = Path(path) if path else Path(str(files("geodiff.jobs.training"))) / "prompts.toml"
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            words = [dict(table.get(part, {})) for part in ("labels", "datasets", "names")]
            facts = [Fact(**entry) for entry in table.get("facts", [])]
            found = cls(list(table["frames"]), words[0], words[1], words[2], facts)
            lists = [*found.labels.values(), *found.datasets.values(), *found.names.values()]
            if not all(list_ and all(isinstance(w, str) for w in list_) for list_ in lists):
                raise ValueError("every entry must be a list of words that is not empty")
            return found
        except OSError as error:
            raise UsageError(f"cannot read the prompts {file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} is not valid TOML: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"the prompts {file} are not usable: {error!r}") from error

    def sayings(self, patch: Mapping[str, Any], facts: Mapping[str, float]) -> list[Sequence[str]]:
        """Lists of words of which one each makes up a sentence; the first one always counts."""
        if patch.get("label"):
            label = str(patch["label"])
            return [self.labels.get(label, [label])]
        names = [w for start, w in self.names.items() if str(patch["name"]).startswith(start)]
        main = [*names, *([self.datasets[patch["set"]]] if patch["set"] in self.datasets else [])]
        more = [
            fact.words
            for fact in self.facts
            if fact.column in facts and fact.low <= facts[fact.column] < fact.high
        ]
        return ([[word for words in main for word in words]] if main else []) + more

    def sentence(self, sayings: Sequence[Sequence[str]], rng: np.random.Generator) -> str:
        """One sentence: a word of the first list or, now and then, only of one of the others."""
        picked = [str(rng.choice(list(words))) for words in sayings]
        main, more = picked[:1], [word for word in picked[1:] if rng.random() < 0.6]
        if len(picked) > 1 and rng.random() < 0.15:
            main, more = [], picked[1:]
        said = " with ".join([*main, " and ".join(more)] if more and main else main or more)
        return str(rng.choice(list(self.frames))).format(said)


def write_texts(
    patches: PatchSet,
    templates: Templates,
    facts: Mapping[str, Mapping[str, float]],
    wordings: int,
    seed: int,
) -> list[list[str]]:
    """For every patch ``wordings`` sentences, or none where nothing is known about it."""
    texts = []
    for row, patch in enumerate(patches.table.to_dict("records")):
        own = next((facts[n] for n in names_of(patch) if n in facts), {})
        sayings = templates.sayings({**patch, "set": patches.path.name}, own)
        rng = np.random.default_rng((seed, row))
        texts.append([templates.sentence(sayings, rng) for _ in range(wordings if sayings else 0)])
    return texts


def names_of(patch: Mapping[str, Any]) -> tuple[str, ...]:
    """What a table of facts may call a patch: its name, its source's, its place."""
    return str(patch["name"]), Path(str(patch["source"])).stem, str(patch["place"])


def read_facts(paths: Sequence[str]) -> dict[str, dict[str, float]]:
    """Numbers about patches by name, from CSV tables with a column ``name``.

    Raises DataError for a table that cannot be read or has no such column.
    """
    facts: dict[str, dict[str, float]] = {}
    for path in paths:
        try:
            with Path(path).open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"cannot read the facts {path}: {error}") from error
        if not rows or "name" not in rows[0]:
            raise DataError(f"the facts {path} need a header with the column name")
        for row in rows:
            facts.setdefault(row["name"], {}).update(numbers(row))
    return facts


def numbers(row: Mapping[str, str]) -> dict[str, float]:
    """The columns of a row that hold numbers."""
    found = {}
    for column, value in row.items():
        try:
            found[column] = float(value)
        except (TypeError, ValueError):
            continue
    return found


def number_texts(
    texts: Sequence[Sequence[Sequence[str]]], wordings: int
) -> tuple[list[str], list[NDArray[np.intp]]]:
    """All different sentences, and for every set their numbers (patch, wording), -1 for none."""
    table = sorted({text for one in texts for patch in one for text in patch})
    index = {text: number for number, text in enumerate(table)}
    return table, [
        np.array([[index[t] for t in patch] or [-1] * wordings for patch in one], np.intp)
        for one in texts
    ]
