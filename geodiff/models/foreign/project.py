"""The configuration beside a latent diffusion checkpoint: numbers that no tensor tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from geodiff.errors import DataError, ModelError

LONGEST = 2**18
"""Bytes of the file, at most."""

DEEPEST = 32
"""Tables and lists inside each other, at most."""


@dataclass(frozen=True)
class Project:
    """Tables of a project.yaml; empty ones where there is no file."""

    path: Path | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    unet: Mapping[str, Any] = field(default_factory=dict)
    codec: Mapping[str, Any] = field(default_factory=dict)
    conditioner: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = ""  # what it calls the training set, and its magnification

    def agree(self, what: str, given: Any, found: Any) -> None:
        """Raises ModelError where the file says (``given``) other than the tensors (``found``)."""
        if given is not None and plain(given) != plain(found):
            raise ModelError(
                f"{self.path} says {what} {str(given)[:80]}, but the checkpoint says {found}: they "
                "do not belong together"
            )

    def number(self, table: Mapping[str, Any], name: str, default: float) -> float:
        """A number of one of its tables. Raises ModelError where it is none, or not finite."""
        value = table.get(name, default)
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isfinite(found):
            raise ModelError(f"{self.path} gives {name} as {str(value)[:80]!r}: give a number")
        return found


def plain(value: Any) -> Any:
    """Numbers as floats and sequences as lists, so that they compare."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    small = isinstance(value, int | float) and abs(value) < 2**53
    return float(value) if small else value


def read_project(path: str | Path | None) -> Project:
    """Read the file with a loader that makes plain values only; None is no file.

    Names of classes in it are looked at as texts and never imported. Raises DataError where the
    file is missing, damaged, or no such configuration.
    """
    if path is None:
        return Project()
    file = Path(path)
    if not file.is_file() or file.stat().st_size > LONGEST:
        fault = f"is larger than {LONGEST} bytes" if file.is_file() else "does not exist"
        raise DataError(f"the configuration {file} {fault}")
    try:
        text = file.read_text(encoding="utf-8")
        check_nesting(text)
        root = yaml.safe_load(text)
        model = root["model"]["params"]
        unet, codec = (model[f"{part}_config"]["params"] for part in ("unet", "first_stage"))
        conditioner = model.get("cond_stage_config", {}).get("params", {})
        tables = (model, unet, codec, conditioner, codec.get("ddconfig", {}))
        if not all(isinstance(table, dict) for table in tables):
            raise TypeError("a part of it is no table")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unusable(file, error) from error
    except yaml.YAMLError as error:
        raise unusable(file, error) from error
    train = within(root, "data", "params", "train")
    named = within(train, "target"), within(train, "params", "config", "magnification")
    dataset = " ".join(text for text in named if isinstance(text, str))
    return Project(file, model, unet, codec, conditioner, dataset)


def check_nesting(text: str) -> None:
    """Raises ValueError for a text that could unfold, or be nested, without end."""
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it refers to its own parts, which could unfold without end")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it is nested over {DEEPEST} deep")


def within(table: Any, *path: str) -> Any:
    """An entry of tables in each other; None where it is not there."""
    for name in path:
        table = table.get(name) if isinstance(table, dict) else None
    return table


def unusable(file: Path, error: Exception) -> DataError:
    """The one-line error for a configuration."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return DataError(f"{file} is no configuration of a latent diffusion model: {reason}")
