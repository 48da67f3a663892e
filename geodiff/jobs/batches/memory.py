"""Which files a batch has read and found whole: they are not read again until they change."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from geodiff.geo.store import Store

MEMORY = ".geodiff-whole.json"
"""The file in which that is kept, beside the collection. Without it all files are read again."""

Mark = tuple[int, int, int, int]
"""Bytes, moments of the last change of content and of anything at all in nanoseconds, inode."""


def mark_of(path: Path) -> Mark | None:
    """What changes whenever the file does; None where there is none.

    No program can set the third number back, as it can the second.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


@dataclass
class Memory:
    """Marks and checksums of files that were whole, by name."""

    known: dict[str, tuple[Mark, str]] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def of(cls, store: Store) -> Memory:
        """What a folder's former runs found; nothing for a place elsewhere or a damaged file."""
        if store.local(MEMORY) is None:
            return cls()
        try:
            rows = json.loads(store.read(MEMORY) or "")["whole"]
            return cls({str(name): (_mark(row[:4]), str(row[4])) for name, row in rows.items()})
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return cls()

    def knows(self, name: str, mark: Mark | None, checksum: str) -> bool:
        """Whether the file had this mark when it was found to have this checksum."""
        return mark is not None and self.known.get(name) == (mark, checksum)

    def learn(self, name: str, mark: Mark | None, checksum: str) -> None:
        """A file that has this checksum, and had this mark before and after that was seen."""
        if mark is not None and not self.knows(name, mark, checksum):
            self.known[name], self.changed = (mark, checksum), True

    def save(self, store: Store) -> None:
        """Keep it with the catalogue. Raises OutputError."""
        if self.changed and store.local(MEMORY) is not None:
            rows = {name: [*mark, checksum] for name, (mark, checksum) in self.known.items()}
            store.write(MEMORY, json.dumps({"whole": rows}, indent=0) + "\n")
            self.changed = False


def _mark(numbers: list[int]) -> Mark:
    size, content, anything, inode = map(int, numbers)
    return size, content, anything, inode
