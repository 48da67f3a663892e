"""Checkpoints as `torch.save` writes them since PyTorch 1.6: a zip archive around a pickle."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from geodiff.errors import DataError
from geodiff.models.foreign.machine import LONGEST, Machine
from geodiff.models.foreign.rebuild import STORAGES, Name
from geodiff.models.foreign.stored import DAMAGED, Stored, ZipBytes

ENTRIES = 100_000
"""Entries of an archive, at most."""


def read_archive(path: Path) -> Any:
    """What the pickle of the archive holds, with tensors as ``Stored``.

    Raises DataError for archives that are damaged, or not as PyTorch writes them: compressed or
    overlapping entries, names that lead out of the archive, links, programs.
    """
    try:
        with ZipFile(path) as archive:
            entries = check_entries(path, archive.infolist())
            root = root_of(path, entries)
            order = entries.get(f"{root}/byteorder")
            if order and archive.read(order) != b"little":
                raise DataError(f"{path} was written by a big-endian computer, which is not read")
            pickled = archive.read(entries[f"{root}/data.pkl"])
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{path} is damaged or cut short: {error}") from error

    def storage(identifier: Any) -> Stored:
        kind, key, count = parse_identifier(path, identifier)
        entry = entries.get(f"{root}/data/{key}")
        if entry is None:
            raise DataError(f"{path} is damaged: it has no entry {root}/data/{key[:40]!r}")
        dtype = STORAGES[kind]
        if entry.file_size != count * dtype.itemsize:
            raise DataError(
                f"{path} claims {count} numbers of {kind} in {entry.filename!r}, which holds "
                f"{entry.file_size} bytes"
            )
        return Stored(ZipBytes(path, entry.filename, entry.file_size), dtype, (count,), (1,))

    return Machine(str(path), storage).run(BytesIO(pickled))


def check_entries(path: Path, found: Iterable[ZipInfo]) -> dict[str, ZipInfo]:
    """The entries by name, if all of them are as PyTorch writes them."""
    entries: dict[str, ZipInfo] = {}
    end = 0
    for entry in sorted(found, key=lambda item: item.header_offset):
        name, parts = entry.filename, PurePosixPath(entry.filename).parts
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise DataError(f"{path} has the entry {name[:80]!r}, which leads elsewhere: refused")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise DataError(f"{path} has the entry {name[:80]!r}, which is a link: refused")
        if entry.compress_type != ZIP_STORED or entry.compress_size != entry.file_size:
            raise DataError(f"{path} has the compressed entry {name[:80]!r}: refused")
        if name in entries or len(entries) >= ENTRIES:
            raise DataError(f"{path} has the entry {name[:80]!r} twice, or too many: refused")
        if entry.header_offset < end:
            raise DataError(f"{path} has entries that overlap, as {name[:80]!r}: refused")
        end = entry.header_offset + entry.file_size
        entries[name] = entry
    if end > path.stat().st_size:
        raise DataError(f"{path} is damaged: its entries reach beyond its end")
    return entries


def root_of(path: Path, entries: dict[str, ZipInfo]) -> str:
    """The folder in the archive around data.pkl."""
    roots = [name.rpartition("/")[0] for name in entries if name.split("/")[1:] == ["data.pkl"]]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in entries):
        raise DataError(f"{path} is a TorchScript program, not a checkpoint: refused")
    if len(roots) != 1:
        raise DataError(f"{path} is an archive, but not one that torch.save writes")
    if entries[f"{roots[0]}/data.pkl"].file_size > LONGEST:
        raise DataError(f"{path} has a pickle of over {LONGEST // 2**20} MiB: refused")
    return roots[0]


def parse_identifier(path: Path, identifier: Any) -> tuple[str, str, int]:
    """Type, key and element count of a storage, from ('storage', type, key, device, count)."""
    if (
        isinstance(identifier, tuple)
        and len(identifier) in (5, 6)
        and identifier[0] == "storage"
        and isinstance(identifier[1], Name)
        and identifier[1].path in STORAGES
        and isinstance(identifier[2], str)
        and type(identifier[4]) is int
        and identifier[4] >= 0
    ):
        return identifier[1].path, identifier[2], identifier[4]
    raise DataError(f"{path} is damaged: a storage in it is not described as PyTorch does it")
