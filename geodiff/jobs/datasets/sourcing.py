"""The sources of a training set: files, folders and patterns, or the items of a STAC search."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from geodiff.errors import DataError, UsageError
from geodiff.geo.search import search
from geodiff.geo.stac_items import Unusable
from geodiff.jobs.datasets.config import PrepareConfig
from geodiff.jobs.datasets.scenes import Source
from geodiff.jobs.datasets.tables import Tables

SUFFIXES = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".vrt", ".jp2")


def list_sources(
    sources: Sequence[str | Path] | str | Path, config: PrepareConfig
) -> tuple[list[Source], Tables, tuple[str, ...]]:
    """What is cut, what tables say about it, and notes for the user.

    Raises DataError where there is nothing, or where a table names none of it.
    """
    given = [sources] if isinstance(sources, (str, Path)) else list(sources)
    query = config.search()
    if (query is None) == (not given):
        raise UsageError("give either rasters to cut or a STAC search (--stac URL)")
    if query is not None:
        if config.split_table or config.labels:
            raise UsageError("--split-table and --labels name files, a STAC search has none")
        skip = re.compile(config.exclude) if config.exclude else None
        left_out: list[Unusable] = []
        found = search(query, left_out)
        items = [item for item in found if not (skip and skip.search(item.name))]
        if not items:
            raise DataError(f"--exclude {config.exclude} leaves out every item of the search")
        chosen = [
            Source(
                item.name, item.hrefs, None, item.datetime, item.bands, query.bbox, query.any_href
            )
            for item in items
        ]
        return chosen, Tables(), unusable(left_out)
    files = find(given, config)
    folders = [Path(source) for source in given if Path(source).is_dir()]
    tables = Tables.read(config.split_table, config.labels, folders)
    notes = tables.check(files)
    return [Source(path.stem, (str(path),), path) for path in files], tables, notes


def unusable(items: Sequence[Unusable]) -> tuple[str, ...]:
    """A note on the items of a search that cannot be cut, if there are any."""
    if not items:
        return ()
    first = f"the first, {items[0].name}: {items[0].reason}"
    return (f"{len(items)} of the items found cannot be used and are left out; {first}",)


def find(given: Sequence[str | Path], config: PrepareConfig) -> list[Path]:
    """Raster files of folders, globs and paths, sorted. Raises DataError for one without any."""
    files: set[Path] = set()
    empty = []
    for source in map(str, given):
        path = Path(source)
        if path.is_dir():
            found = {p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()}
        elif path.exists():
            found = {path}
        else:
            found = {Path(p) for p in glob.glob(source, recursive=True)}
        files |= found
        empty += [] if found else [source]
    skip = re.compile(config.exclude) if config.exclude else None
    chosen = sorted(p for p in files if not (skip and skip.search(p.stem)))
    if empty or not chosen:
        raise DataError(f"no raster found in {', '.join(empty or map(str, given))}")
    return chosen
