"""An unfinished mosaic: its finished parts and a journal in a hidden folder beside the output."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from geodiff.errors import OutputError, UsageError
from geodiff.geo.grid import PixelGrid
from geodiff.geo.journal import Counts, folder_of, journal_of, read_journal
from geodiff.geo.mosaic import WorkingRaster
from geodiff.geo.provenance import Provenance
from geodiff.geo.virtual import Tile, write_virtual
from geodiff.geo.writing import WRITE_ERRORS, histogram, write_failure
from geodiff.steps import Step
from geodiff.window import Window

Facts = Mapping[str, Any]


class Parts:
    """The parts of the mosaic at ``out`` that are painted so far.

    Each part is a GeoTIFF of its own: written once, read back, brought to the disk and only then
    given its name and a line in the journal. A kill, a crash or a full disk can therefore spoil
    nothing that is finished. ``facts`` are JSON-ready values that fix every pixel: a later run with
    the same ones goes on from the parts (``review`` reads them again); a run with others is refused
    by UsageError, unless ``restart`` is set. A lock keeps two runs off one output (OutputError).
    ``with Parts(...)`` leaves nothing behind where no part is finished.
    """

    def __init__(
        self,
        out: str | Path,
        grid: PixelGrid,
        facts: Facts,
        begun: datetime,
        restart: bool = False,
        bands: int = 3,
    ) -> None:
        self.out, self.grid, self.begun, self.bands = Path(out), grid, begun, bands
        self.restart, self.facts = restart, json.loads(json.dumps(dict(facts)))
        self.folder = folder_of(self.out)
        self.done: dict[str, tuple[Window, Counts]] = {}
        self.published = False  # a former run was stopped while it took the output's name
        self._lock = FileLock(self.folder.with_suffix(".lock"), timeout=0)

    def __enter__(self) -> Parts:
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another run is writing {self.out}: wait for it, stop it, or choose another --out"
            ) from error
        except OSError as error:
            raise write_failure(self.out, error) from error
        try:
            self._take_over()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.done:
            self.remove()
        self._unlock()

    def review(self) -> Iterator[Step]:
        """Read the parts of a former run again and forget those that are damaged, showing how far.

        Until then ``done`` is what the journal says. Raises OutputError as ``part`` does.
        """
        names = list(self.done)
        for number, name in enumerate(names, start=1):
            if not _holds(self._file(name), self.done[name]):
                del self.done[name]
                try:
                    self._file(name).unlink(missing_ok=True)
                    self._rewrite()
                except OSError as error:
                    raise write_failure(self.out, error) from error
            yield Step("review", number, len(names))

    @contextmanager
    def part(self, name: str, window: Window) -> Iterator[WorkingRaster]:
        """A raster over ``window`` of the lattice that becomes the part ``name`` on leaving.

        Raises OutputError where the disk does not hold what was written; then there is no part.
        """
        target = self._file(name)
        with WorkingRaster(target, self.grid.crop(window), self.bands, token="new") as raster:
            yield raster
        try:
            counts = histogram(raster.path)  # reads every pixel back from the closed file
            if int((counts @ np.arange(256)).sum()) != raster.total:
                raise OSError("the file does not hold what was written; is the disk full?")
            with raster.path.open("rb") as file:
                os.fsync(file.fileno())
            raster.path.replace(target)
            self._append({"part": name, "window": _numbers(window), "counts": counts.tolist()})
        except WRITE_ERRORS as error:
            raster.path.unlink(missing_ok=True)
            raise write_failure(target, error) from error
        self.done[name] = window, counts

    def assemble(self, provenance: Provenance) -> Path:
        """All parts as one virtual raster with tags, XMP and statistics; returns its path."""
        target = self.folder / "mosaic.vrt"
        tiles = [Tile(self._file(name).name, window) for name, (window, _) in self.done.items()]
        counts = np.sum([counts for _, counts in self.done.values()], axis=0)
        try:
            write_virtual(target, self.grid, sorted(tiles), counts, provenance)
        except OSError as error:
            raise write_failure(target, error) from error
        return target

    def publish(self) -> None:
        """Record that the output's name is about to be taken, so that a killed run may finish."""
        try:
            self._append({"publish": True})
        except OSError as error:
            raise write_failure(self.out, error) from error
        self.published = True

    def remove(self) -> None:
        """Forget everything: the mosaic is finished, or begun afresh."""
        self.done.clear()
        journal_of(self.out).unlink(missing_ok=True)  # first: without it the rest means nothing
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_over(self) -> None:
        """Read what a former run left, or begin."""
        found = read_journal(self.out)
        if found is not None and found.parts and not self.restart:
            if found.facts != self.facts:
                raise UsageError(self._differs(found.facts))
            self.begun, self.published = found.begun, found.published
            self.done = {
                name: part for name, part in found.parts.items() if self._file(name).is_file()
            }
        kept = {self._file(name).name for name in self.done}
        try:
            self.folder.mkdir(exist_ok=True)
            for left in self.folder.iterdir():
                if left.name not in kept and left != journal_of(self.out):
                    left.unlink()
            self._rewrite()
        except OSError as error:
            raise write_failure(self.out, error) from error

    def _differs(self, old: dict[str, Any]) -> str:
        names = [name for name in {**old, **self.facts} if old.get(name) != self.facts.get(name)]
        pairs = "; ".join(
            f"{name} {json.dumps(old.get(name))}, now {json.dumps(self.facts.get(name))}"
            for name in names
        )
        return (
            f"an unfinished mosaic of another request lies beside {self.out} ({pairs}): give "
            "--restart to begin anew, or run the former command to finish that one"
        )

    def _rewrite(self) -> None:
        """Replace the journal in one step; this also drops a line that a kill cut short."""
        head = {"facts": self.facts, "begun": self.begun.isoformat()}
        lines = [head] + [
            {"part": name, "window": _numbers(window), "counts": counts.tolist()}
            for name, (window, counts) in self.done.items()
        ]
        if self.published and self.done:
            lines.append({"publish": True})
        temporary = self.folder / "journal.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(journal_of(self.out))

    def _append(self, line: dict[str, Any]) -> None:
        with journal_of(self.out).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.tif"

    def _unlock(self) -> None:
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def _numbers(window: Window) -> list[int]:
    return [window.row, window.col, window.height, window.width]


def _holds(path: Path, part: tuple[Window, Counts]) -> bool:
    """Whether a part's file still holds the pixels that the journal counted."""
    with suppress(*WRITE_ERRORS):
        return bool(np.array_equal(histogram(path), part[1]))
    return False
