"""Checkpoints as `torch.save` wrote them before PyTorch 1.6: pickles in a row, then the numbers."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

from geodiff.errors import DataError
from geodiff.models.foreign.archive import parse_identifier
from geodiff.models.foreign.machine import LONGEST, Machine
from geodiff.models.foreign.rebuild import STORAGES
from geodiff.models.foreign.stored import FileBytes, Stored

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read_legacy(path: Path) -> Any:
    """What the file holds, with tensors as ``Stored``.

    The numbers of a storage lie behind all pickles, in the order of a list of keys, each behind its
    count; so a first pass with places unknown finds the counts, a second one the tensors. Raises
    DataError for anything else.
    """
    with path.open("rb") as file:
        head = BytesIO(file.read(LONGEST))
    claimed: dict[str, tuple[str, int]] = {}
    places: dict[str, FileBytes] = {}

    def storage(identifier: Any) -> Stored:
        kind, key, count = parse_identifier(path, identifier)
        if len(identifier) == 6 and identifier[5] is not None:
            raise DataError(f"{path} holds views of storages, which are not read")
        if claimed.setdefault(key, (kind, count)) != (kind, count):
            raise DataError(f"{path} is damaged: it describes the storage {key[:40]!r} twice")
        size = count * STORAGES[kind].itemsize
        place = places.get(key, FileBytes(path, 0, size))
        return Stored(place, STORAGES[kind], (count,), (1,))

    machine = Machine(str(path), storage)
    if machine.run(head) != MAGIC or machine.run(head) != PROTOCOL:
        raise DataError(f"{path} is a pickle, but no checkpoint of PyTorch")
    facts = machine.run(head)
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise DataError(f"{path} was written by a big-endian computer, which is not read")
    start = head.tell()
    machine.run(head)
    keys = machine.run(head)
    places |= locate(path, keys, claimed, head.tell())
    head.seek(start)
    return machine.run(head)


def locate(
    path: Path, keys: Any, claimed: dict[str, tuple[str, int]], position: int
) -> dict[str, FileBytes]:
    """Where the numbers of each storage lie. Raises DataError unless they are as claimed."""
    listed = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not listed or sorted(keys) != sorted(claimed):
        raise DataError(f"{path} is damaged: its list of storages is not that of its tensors")
    places, end = {}, path.stat().st_size
    with path.open("rb") as file:
        for key in keys:
            kind, count = claimed[key]
            file.seek(position)
            head = file.read(8)
            size = count * STORAGES[kind].itemsize
            if len(head) < 8 or struct.unpack("<q", head)[0] != count or position + 8 + size > end:
                raise DataError(f"{path} is damaged or cut short: the storage {key[:40]!r} misfits")
            places[key] = FileBytes(path, position + 8, size)
            position += 8 + size
    return places
