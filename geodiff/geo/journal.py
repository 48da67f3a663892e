"""What of an unfinished mosaic is done: a line a chart, kept beside the working file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from geodiff.errors import OutputError, UsageError
from geodiff.geo.writing import hidden, write_failure

WORK = "work"
"""Token in the hidden names of a working file, its journal and its lock."""

PUBLISH = "publish"
"""Entry of the journal once every chart is done and the output's own name may be taken."""

Facts = Mapping[str, Any]


class Journal:
    """The journal of the mosaic at ``out``: first what the mosaic is, then the finished charts.

    Its first line holds ``facts``, JSON-ready values that fix every pixel, and when the run began;
    each further line names a chart whose pixels are safe on the disk. A run that is killed leaves
    it behind, and the next run with the same facts goes on from there. ``with Journal(...) as
    journal`` holds a lock, so that two runs never paint one file. Raises OutputError if another
    run has the lock or the disk refuses, UsageError if an unfinished mosaic of other facts lies
    there and ``restart`` is not set.
    """

    def __init__(
        self, out: str | Path, facts: Facts, begun: datetime, restart: bool = False
    ) -> None:
        self.out, self.begun, self.restart = Path(out), begun, restart
        self.facts: dict[str, Any] = json.loads(json.dumps(dict(facts)))
        self.path, self.working = journal_path(self.out), hidden(self.out, WORK)
        self.done: set[str] = set()
        self._lock = FileLock(hidden(self.out, WORK, ".lock"), timeout=0)

    def __enter__(self) -> Journal:
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another run is writing {self.out}: wait for it, stop it, or choose another --out"
            ) from error
        except OSError as error:
            raise write_failure(self.path, error) from error
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
            self.remove()  # nothing that would be worth going on with
        self._unlock()

    def add(self, chart: str) -> None:
        """Record a chart; its pixels must be on the disk already."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(chart) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_failure(self.path, error) from error
        self.done.add(chart)

    def remove(self) -> None:
        """Forget everything: the mosaic is finished, or begun afresh."""
        self.done.clear()
        self.working.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _take_over(self) -> None:
        """Read what a former run left, or begin."""
        found = read(self.path)
        if found is not None and not self.restart:
            if found.facts != self.facts:
                raise UsageError(self._differs(found.facts))
            if self.working.exists() and found.charts:
                self.done, self.begun = set(found.charts), found.begun
        if not self.done:
            self.remove()
        head = {"facts": self.facts, "begun": self.begun.isoformat()}
        self._write([json.dumps(head), *map(json.dumps, sorted(self.done))])

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

    def _write(self, lines: list[str]) -> None:
        """Replace the journal in one step; this also drops a line that a kill cut short."""
        temporary = self.path.with_suffix(".tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise write_failure(self.path, error) from error

    def _unlock(self) -> None:
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def journal_path(out: str | Path) -> Path:
    """Where the journal of the mosaic at ``out`` lies while it is unfinished."""
    return hidden(Path(out), WORK, ".jsonl")


@dataclass(frozen=True)
class Entries:
    """What a journal says."""

    facts: dict[str, Any]
    begun: datetime
    charts: tuple[str, ...]  # finished


def read(path: Path) -> Entries | None:
    """The journal at ``path``; None if there is none that can be read."""
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        head = json.loads(first)
        facts, begun = dict(head["facts"]), datetime.fromisoformat(head["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    charts = []
    for line in rest:
        try:
            charts.append(str(json.loads(line)))
        except ValueError:
            break  # cut short by a kill
    return Entries(facts, begun, tuple(charts))


def unfinished(out: str | Path) -> tuple[int, int] | None:
    """How many charts of how many are finished in a stopped run of ``out``; None without one."""
    found = read(journal_path(out))
    if found is None or not found.charts:
        return None
    total = int(found.facts.get("charts", 0))
    return min(len(found.charts), total), total


def publishing(out: str | Path) -> bool:
    """Whether a run was stopped while it put the finished mosaic of ``out`` into place."""
    found = read(journal_path(out))
    return found is not None and PUBLISH in found.charts
