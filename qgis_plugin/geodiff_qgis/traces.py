"""What a run may leave on the disk, so that a cancelled or killed one leaves nothing."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def traces(out: str) -> frozenset[Path]:
    """The files and folders there are now that a run writing ``out`` may have made.

    The output, the item beside a mosaic, and hidden working files of both names.
    """
    path = Path(out)
    names = {path.name}
    if path.suffix.lower() in (".tif", ".tiff"):
        names.add(path.with_suffix(".json").name)
    hidden = (f".{path.name}.", f".{path.stem}.geodiff-")
    try:
        with os.scandir(path.parent) as entries:
            found = [entry.name for entry in entries]
    except OSError:
        return frozenset()
    return frozenset(
        path.parent / name for name in found if name in names or name.startswith(hidden)
    )


def sweep(out: str, before: frozenset[Path], keep_charts: bool = False) -> None:
    """Remove what is there now and was not there ``before`` the run.

    ``keep_charts`` leaves the folder of finished charts, from which the same run can go on.
    """
    for path in traces(out) - before:
        if keep_charts and path == charts_folder(out):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):  # held open by another program: nothing more can be done
                path.unlink()


def charts_folder(out: str) -> Path:
    """Where an unfinished mosaic keeps its finished charts."""
    path = Path(out)
    return path.with_name(f".{path.name}.geodiff")
