"""Which units are done: those whose item is there and whose COG is what the item says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodiff.errors import UsageError
from geodiff.geo.cog import is_valid
from geodiff.geo.static_collection import ITEMS, Document
from geodiff.geo.store import Store
from geodiff.jobs.batches.memory import Memory, mark_of
from geodiff.jobs.batches.units import Unit
from geodiff.jobs.batches.work import Job
from geodiff.steps import Step


@dataclass(frozen=True)
class Ledger:
    """What a catalogue holds of a batch."""

    done: dict[str, Document] = field(default_factory=dict)  # items of finished units, by name
    kinds: frozenset[str] = frozenset()  # of devices and precisions that painted them


def review(
    store: Store,
    job: Job,
    units: tuple[Unit, ...],
    overwrite: bool = False,
    memory: Memory | None = None,
) -> Generator[Step, None, Ledger]:
    """Look at every unit, yielding progress; the generator's value says which are done.

    Nothing but the files themselves is believed: a unit is done if its item bears the facts of this
    request, and its COG is strictly valid and has the size and the checksum in the item. What is in
    ``memory`` and has not changed since is not read again. In a store elsewhere, or without
    ``memory``, the size alone is compared. Raises UsageError for units that another request made,
    unless they may be overwritten.
    """
    ledger, kinds, sizes = Ledger(), set[str](), store.sizes(ITEMS)
    for number, unit in enumerate(units, start=1):
        name = f"{ITEMS}/{unit.name}"
        item = document(store.read(f"{name}.json")) if f"{name}.json" in sizes else None
        if item is not None:
            facts = item["properties"].get("geodiff:batch")
            if facts != job.facts_of(unit):
                if not overwrite:
                    raise UsageError(other_request(store, unit, facts, job.facts_of(unit)))
            elif is_done(item, sizes.get(cog := f"{name}.tif"), cog, store.local(cog), memory):
                ledger.done[unit.name] = item
                kinds.add(str(item["properties"].get("geodiff:device")))
        yield Step("review", number, len(units))
    return Ledger(ledger.done, frozenset(kinds))


def document(text: str | None) -> Document | None:
    """The item that a text is; None where it is none."""
    try:
        item = json.loads(text or "")
        whole = isinstance(item["properties"], dict) and isinstance(item["assets"]["data"], dict)
    except (ValueError, KeyError, TypeError):
        return None
    return item if whole else None


def is_done(
    item: Document, size: int | None, name: str, path: Path | None, memory: Memory | None
) -> bool:
    """Whether the COG of an item is what the item says."""
    asset = item["assets"]["data"]
    if size is None or size != asset.get("file:size"):
        return False
    if path is None or memory is None:
        return True
    checksum, mark = str(asset.get("file:checksum")), mark_of(path)
    if memory.knows(name, mark, checksum):
        return True
    whole = f"1220{digest(path)}" == checksum and is_valid(path)
    if whole and mark_of(path) == mark:
        memory.learn(name, mark, checksum)
    return whole


def digest(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def other_request(
    store: Store, unit: Unit, old: Mapping[str, Any] | None, new: Mapping[str, Any]
) -> str:
    """What tells the unit that is there from the one that is wanted."""
    old = old if isinstance(old, dict) else {}
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    pairs = "; ".join(
        f"{name} {json.dumps(old.get(name))[:60]}, now {json.dumps(new.get(name))[:60]}"
        for name in names[:4]
    )
    return (
        f"{store.where}/{ITEMS}/{unit.name}.json is of another request ({pairs}): give "
        "--overwrite to make such units anew, or another --out-dir"
    )
