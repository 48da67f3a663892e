"""Checkpoints as `torch.save` writes them since PyTorch 1.6: a zip archive around a pickle."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterable
from io import BytesIO, FileIO
from os import fstat
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from geodiff.errors import DataError
from geodiff.models.foreign.machine import LONGEST, Machine
from geodiff.models.foreign.rebuild import STORAGES, Name
from geodiff.models.foreign.stored import FileBytes, Stored

ENTRIES = 100_000
"""Entries of an archive, at most."""

DAMAGED = (
    BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error,
)  # fmt: skip
"""What archives that are damaged, or made by others, make their reader raise."""


class Sparing(FileIO):
    """A file that gives no more than LONGEST bytes at once, such as an archive's directory."""

    def read(self, size: int | None = -1) -> bytes:
        """Raises BadZipFile where more is wanted."""
        if size is None or size < 0:
            size = fstat(self.fileno()).st_size - self.tell()
        if size > LONGEST:
            raise BadZipFile(f"a part of over {LONGEST // 2**20} MiB is no tensor")
        return super().read(size)


def read_archive(path: Path) -> Any:
    """What the pickle of the archive holds, with tensors as ``Stored``.

    Raises DataError for archives that are damaged, or not as PyTorch writes them: compressed or
    overlapping entries, names that lead out of the archive, links, programs.
    """
    try:
        with Sparing(path) as file, ZipFile(file) as archive:
            entries = check_entries(path, archive.infolist())
            root = root_of(path, entries)
            order = entries.get(f"{root}/byteorder")
            if order and archive.read(order) != b"little":
                raise DataError(f"{path} was written by a big-endian computer, which is not read")
            pickled = archive.read(entries[f"{root}/data.pkl"])
            data = {
                name.removeprefix(f"{root}/data/"): place_of(path, file, entry)
                for name, entry in entries.items()
                if name.startswith(f"{root}/data/")
            }
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{path} is damaged or cut short: {error}") from error

    def storage(identifier: Any) -> Stored:
        kind, key, count = parse_identifier(path, identifier)
        if key not in data:
            raise DataError(f"{path} is damaged: it has no entry {root}/data/{key[:40]!r}")
        dtype = STORAGES[kind]
        if data[key].size != count * dtype.itemsize:
            raise DataError(
                f"{path} claims {str(count)[:24]} numbers of {kind} in {key[:40]!r}, which holds "
                f"{data[key].size} bytes"
            )
        return Stored(data[key], dtype, (count,), (1,))

    return Machine(str(path), storage).run(BytesIO(pickled))


def place_of(path: Path, file: FileIO, entry: ZipInfo) -> FileBytes:
    """Where the bytes of an entry lie: behind a header, a name and a filling."""
    file.seek(entry.header_offset)
    head = file.read(30)
    if len(head) < 30 or not head.startswith(b"PK\x03\x04"):
        raise BadZipFile(f"{entry.filename[:80]!r} is not where the directory says")
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", head[26:]))
    return FileBytes(path, start, entry.file_size, entry.CRC)


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
        squeezed = entry.compress_type != ZIP_STORED or entry.compress_size != entry.file_size
        if squeezed or entry.flag_bits & 1:
            fault = "compressed" if squeezed else "encrypted"
            raise DataError(f"{path} has the {fault} entry {name[:80]!r}: refused")
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
