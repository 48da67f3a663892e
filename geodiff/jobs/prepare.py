"""Rasters, image folders or a STAC search -> a training set: equal patches, split by place."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from geodiff.errors import DataError, UsageError
from geodiff.geo.signing import remote
from geodiff.geo.source import quiet
from geodiff.jobs.datasets.collecting import CONTACT, Collected, Summary, check_places
from geodiff.jobs.datasets.collecting import split_of as split_of
from geodiff.jobs.datasets.config import PrepareConfig as PrepareConfig
from geodiff.jobs.datasets.dataset import write_set
from geodiff.jobs.datasets.parts import FOLDER, Part, Workshop
from geodiff.jobs.datasets.scenes import Source
from geodiff.jobs.datasets.sourcing import list_sources
from geodiff.jobs.training.sheets import sheet, write_png
from geodiff.steps import Step


def prepare(
    sources: Sequence[str | Path] | str | Path, out: str | Path, config: PrepareConfig
) -> Generator[Step, None, Summary]:
    """Cut ``sources`` (files, folders, globs) or a STAC search into patches in the folder ``out``.

    Writes pixels.npy (uint8, (patch, height, width, band)), patches.parquet (GeoParquet) and a
    contact sheet, and replaces what was there; the generator's value is the summary. Patches with
    nodata, with nothing to see and duplicates are left out and counted. What was cut is kept in a
    hidden folder until the set is complete: after a stop the same call goes on, to the same result.
    Raises DataError without any patch, where sources differ by more than 5 % in metres per pixel,
    or where the table puts a place into both splits, and then leaves nothing behind; OutputError
    where the folder cannot be written.
    """
    found, tables, notes = list_sources(sources, config)
    if notes:
        yield Step("prepare", 0, len(found), notes=notes)
    workshop = Workshop(Path(out) / FOLDER, config.cut(), config.stride or config.patch)
    collected = Collected(config)
    for number, part in enumerate(parts(workshop, found, config.workers), start=1):
        with clearing(workshop):
            collected.add(part, found[number - 1], tables)
        yield Step("prepare", number, len(found), {"patches": len(collected.rows)})
    with clearing(workshop):
        if not collected.rows:
            kind = "files" if config.stac is None else "items"
            raise DataError(
                f"no patch of {config.patch} px came out of {len(found)} {kind}: they may be "
                "smaller than the patch or full of nodata"
            )
        facts = collected.table()
        check_places(facts)
    write_set(Path(out), collected.pixels(), facts)
    write_png(Path(out) / CONTACT, sheet(collected.sample(), columns=8, side=128))
    workshop.clear()
    return Summary.of(Path(out), facts, config.patch, len(found), collected.skipped)


def parts(workshop: Workshop, sources: Sequence[Source], workers: int) -> Iterator[Part]:
    """The part of every source, in order; ``workers`` are cut at a time.

    Threads do: GDAL and numpy work outside the interpreter's lock.
    """

    def part(source: Source) -> Part:
        with remote():  # an environment of GDAL belongs to one thread
            return workshop.part(source)

    if workers == 1:
        yield from map(part, sources)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        # Threads share the filters of warnings: none may switch this one back on for the others.
        with quiet():
            yield from pool.map(part, sources)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def clearing(workshop: Workshop) -> Iterator[None]:
    """Remove what was cut where the sources together make no set."""
    try:
        yield
    except (DataError, UsageError):
        workshop.clear()
        raise
