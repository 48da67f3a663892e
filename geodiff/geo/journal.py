"""The journal of an unfinished mosaic: what it is, and which of its parts are finished."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodiff.window import Window

Counts = NDArray[np.int64]
"""How often each value occurs in each band: (band, 256)."""


@dataclass(frozen=True)
class Entries:
    """What a journal says."""

    facts: dict[str, Any]
    begun: datetime
    parts: dict[str, tuple[Window, Counts]]  # finished
    published: bool


def folder_of(out: Path) -> Path:
    """The hidden folder of an unfinished mosaic."""
    return out.with_name(f".{out.name}.geodiff")


def journal_of(out: str | Path) -> Path:
    """Where the journal of an unfinished mosaic lies."""
    return folder_of(Path(out)) / "journal.jsonl"


def read_journal(out: str | Path) -> Entries | None:
    """The journal of the mosaic at ``out``; None if there is none that can be read."""
    try:
        first, *rest = journal_of(out).read_text(encoding="utf-8").splitlines()
        head = json.loads(first)
        facts, begun = dict(head["facts"]), datetime.fromisoformat(head["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    parts, published = {}, False
    for line in rest:
        try:
            entry = json.loads(line)
        except ValueError:
            break  # cut short by a kill
        published |= "publish" in entry
        if "part" in entry:
            counts = np.array(entry["counts"], np.int64)
            parts[str(entry["part"])] = Window(*entry["window"]), counts
    return Entries(facts, begun, parts, published)


def unfinished(out: str | Path) -> tuple[int, int] | None:
    """How many parts of how many are finished in a stopped run of ``out``; None without one."""
    found = read_journal(out)
    if found is None or not found.parts:
        return None
    return len(found.parts), int(found.facts.get("charts", len(found.parts)))


def publishing(out: str | Path) -> bool:
    """Whether a run was stopped while it put the finished mosaic of ``out`` into place."""
    found = read_journal(out)
    return found is not None and found.published
