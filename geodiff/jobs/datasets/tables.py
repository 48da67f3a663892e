"""CSV tables that say which split, label and place a raster has."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geodiff.errors import DataError, UsageError

LABELS = "labels.csv"
"""A table of this name in a folder of images is read without being asked for."""

KEYS = ("path", "file", "filename", "name")
"""Columns that may name a raster, by a path from the table's folder or a name; the first counts."""

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """Rows of one CSV file, by resolved path and by file name with and without suffix.

    A name that stands there twice, for files of several folders, finds nothing.
    """

    title: str
    paths: dict[Path, Row]
    names: dict[str, Row | None]
    rows: int

    @classmethod
    def read(cls, path: str, needs_label: bool) -> Table:
        """Read ``path``.

        Raises DataError if it is no table or contradicts itself, UsageError without its columns.
        """
        rows, key = read_csv(path, needs_label)
        paths: dict[Path, Row] = {}
        names: dict[str, Row | None] = {}
        for row in rows:
            place = (Path(path).parent / row[key]).resolve()
            known = paths.setdefault(place, row)
            for column in ("label", "split"):
                if known.get(column) != row.get(column):
                    raise DataError(
                        f"{path} names {row[key]} twice, with the {column}s {known[column]!r} and "
                        f"{row[column]!r}: leave one of the rows"
                    )
            for name in {Path(row[key]).name, Path(row[key]).stem}:
                names[name] = None if name in names else row
        return cls(path, paths, names, len(rows))

    def of(self, path: Path) -> Row:
        """The row of a raster; empty where there is none."""
        found = self.paths.get(path.resolve())
        return found or self.names.get(path.name) or self.names.get(path.stem) or {}


@dataclass(frozen=True)
class Tables:
    """All tables of a set; ``ids`` numbers the labels, by label_id or in alphabetical order."""

    tables: tuple[Table, ...] = ()
    ids: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, split_table: str | None, labels: str | None, folders: Sequence[Path]) -> Tables:
        """The tables asked for; without any, those called labels.csv in ``folders``.

        Raises DataError for a file that is no table, UsageError for columns that are missing and
        for a label of two numbers.
        """
        found = [str(folder / LABELS) for folder in folders if (folder / LABELS).is_file()]
        asked = [name for name in (split_table, labels) if name is not None]
        tables = tuple(Table.read(name, name != split_table) for name in asked or found)
        return cls(tables, number([row for table in tables for row in table.paths.values()]))

    def of(self, path: Path) -> Row:
        """What the tables say of a raster, together; empty where they do not name it."""
        return {key: text for table in self.tables for key, text in table.of(path).items()}

    def check(self, paths: Sequence[Path]) -> tuple[str, ...]:
        """Notes on rows without a file and on files without a label.

        Raises DataError where a table names none of the files, or a split that is not known.
        """
        notes = []
        for table in self.tables:
            matched = len({id(row) for row in map(table.of, paths) if row})
            if not matched:
                raise DataError(
                    f"{table.title} names none of the {len(paths)} files: its column 'name' should "
                    f"hold names, such as {paths[0].stem}, or 'path' paths from its folder"
                )
            for path in paths:
                check_split(table.title, table.of(path).get("split"), path)
            if matched < table.rows:
                unused = table.rows - matched
                notes.append(f"{unused} of {table.rows} rows of {table.title} match no file")
        bare = sum(not self.of(path).get("label") for path in paths)
        if self.ids and bare:
            notes.append(f"{bare} of {len(paths)} files have no label")
        return tuple(notes)


def read_csv(path: str, needs_label: bool) -> tuple[list[Row], str]:
    """Rows of one table and the column that names rasters."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [{k: v or "" for k, v in row.items() if isinstance(k, str)} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table {path}: {error}") from error
    if not rows:
        raise DataError(f"the table {path} has no rows")
    columns = list(rows[0])
    key = next((name for name in KEYS if name in columns), None)
    missing = "name" if key is None else "label" if needs_label and "label" not in columns else ""
    if key is None or missing:
        raise UsageError(f"{path} has no column '{missing}'; its columns are {', '.join(columns)}")
    return [row for row in rows if row[key]], key


def check_split(title: str, split: str | None, path: Path) -> None:
    """Raises DataError for a split that neither training nor validation would ever read."""
    if split not in (None, "", "train", "val"):
        raise DataError(
            f"{title} gives {path.name} the split {split!r}: only train and val are known; leave "
            "it empty to have it chosen, or leave such files out (--exclude)"
        )


def number(rows: Sequence[Row]) -> dict[str, int]:
    """Label -> number. Raises UsageError for a label of two numbers, or numbers that are none."""
    ids: dict[str, int] = {}
    for row in rows:
        label, text = row.get("label"), row.get("label_id")
        if label and text:
            try:
                value = int(text)
            except ValueError as error:
                raise UsageError(f"label_id {text!r} of {label} is no whole number") from error
            if ids.setdefault(label, value) != value:
                raise UsageError(f"the label {label} has two numbers, {ids[label]} and {value}")
    labels = sorted({row["label"] for row in rows if row.get("label")})
    if ids and set(labels) != set(ids):
        raise UsageError(f"the label {min(set(labels) - set(ids))} has no label_id, others have")
    return ids or {label: place for place, label in enumerate(labels)}
