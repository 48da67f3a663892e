"""A frozen dataclass filled strictly from TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from geodiff.errors import UsageError

T = TypeVar("T")


def load_config(kind: type[T], path: str | Path, **overrides: Any) -> T:
    """Fill ``kind`` from a TOML file; ``overrides`` that are not None win.

    Raises UsageError for a missing file, broken TOML, an unknown key (it lists the known ones), a
    missing required key or a value of the wrong type.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    table |= {key: value for key, value in overrides.items() if value is not None}
    return fill(kind, table, str(path))


def fill(kind: type[T], table: dict[str, Any], origin: str) -> T:
    """Build the dataclass ``kind`` from ``table``; ``origin`` names the table in errors."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise UsageError(
            f"{origin}: unknown key {', '.join(unknown)}; known keys are {', '.join(fields)}"
        )
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in table
    ]
    if missing:
        raise UsageError(f"{origin}: missing key {', '.join(missing)}")
    hints = get_type_hints(kind)
    return kind(
        **{key: _fit(hints[key], value, f"{origin}: {key}") for key, value in table.items()}
    )


def _fit(hint: Any, value: Any, where: str) -> Any:
    """Check ``value`` against a field's type; lists become tuples, whole numbers floats."""
    inner = get_args(hint)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_fit(inner[0], item, where) for item in value)
    kinds = inner if isinstance(hint, UnionType) else (hint,)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) in kinds:
        return value
    name = hint.__name__ if isinstance(hint, type) and not inner else str(hint)
    raise UsageError(f"{where} should be {name}, got {value!r}")
