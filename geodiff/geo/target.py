"""Which names an output takes, and what is refused before any work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from geodiff.errors import OutputError, UsageError


def item_path(path: str | Path) -> Path:
    """The STAC item beside a mosaic: the same name with the suffix .json."""
    return Path(path).with_suffix(".json")


def check_output(path: str | Path, overwrite: bool = False, sources: Sequence[str] = ()) -> None:
    """Refuses, before any work, an output that could not or must not be written.

    Raises UsageError if the suffix is not .tif or .tiff, or if the output or its STAC item is one
    of the ``sources`` (whatever ``overwrite`` says); OutputError if it is a directory, its
    directory is missing or not writable, or it or its item exists without ``overwrite``.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"the output {path} does not end in .tif or .tiff: give it that suffix")
    check_target(path, overwrite, sources)
    check_target(item_path(path), overwrite, sources)


def check_target(
    path: Path, overwrite: bool, sources: Sequence[str] = (), store: bool = False
) -> None:
    """``check_output`` for one file of any suffix; a ``store`` may also replace a Zarr folder."""
    for source in sources:
        if _same(path, Path(source)):
            raise UsageError(f"the output {path} is a source: sources are never overwritten")
    if path.is_dir() and store:
        if not any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
            raise OutputError(f"the output {path} is a directory, but no Zarr: take another name")
    elif path.is_dir():
        raise OutputError(f"the output {path} is a directory: give a file name")
    if not path.parent.is_dir():
        raise OutputError(f"the directory {path.parent} does not exist: make it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write in {path.parent} ({error.strerror}): choose another directory"
        ) from error
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path} exists: give --overwrite to replace it, or another name")


def _same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)
