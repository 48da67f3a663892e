"""Where geodiff is installed, and the environment that it runs in; knows nothing of QGIS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

VARIABLE = "GEODIFF_EXECUTABLE"
OLDEST = (0, 1, 0)
"""The oldest geodiff that has all options that the plugin gives."""

PREFIXES = ("PYTHON", "PROJ_", "GDAL", "QGIS", "LD_", "DYLD_")
NAMES = ("VIRTUAL_ENV", "PROJSO", "__PYVENV_LAUNCHER__")
"""What QGIS sets for itself: in a child of another Python it would load the wrong libraries."""

ADVICE = "install geodiff, or choose its program in Plugins > Geodiff Mosaic > Set up geodiff"


class NotFound(Exception):
    """No usable geodiff; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """A geodiff that was found."""

    path: str
    found_by: str  # the setting, GEODIFF_EXECUTABLE, the managed environment, PATH


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without what belongs to QGIS, and with UTF-8 for what the child says."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.upper() not in NAMES and not name.upper().startswith(PREFIXES)
    }
    return {**kept, "PYTHONUTF8": "1"}


def removed(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names that ``clean`` leaves out, for a bug report."""
    return tuple(sorted(set(environ) - set(clean(environ))))


def find(
    setting: str,
    environ: Mapping[str, str],
    managed: str | None = None,
    which: Callable[..., str | None] = shutil.which,
) -> Program:
    """The user's setting, else GEODIFF_EXECUTABLE, else the managed environment, else PATH.

    ``managed`` is the program of the managed environment, None if there is none. What is named but
    missing is an error, never passed over for the next. Raises NotFound.
    """
    for told, found_by in ((setting, "the setting"), (environ.get(VARIABLE, ""), VARIABLE)):
        if told.strip():
            return Program(program_in(told.strip(), found_by), found_by)
    if managed is not None and os.path.isfile(managed):
        return Program(managed, "the managed environment")
    home = os.path.join(os.path.expanduser("~"), ".local", "bin")
    path = os.pathsep.join([environ.get("PATH", os.defpath), home])
    found = which("geodiff", path=path)
    if found is None:
        raise NotFound(f"geodiff is not installed where QGIS can find it: {ADVICE}")
    return Program(found, "PATH")


def program_in(told: str, found_by: str) -> str:
    """A program, or that of an environment whose folder is named. Raises NotFound."""
    path = os.path.expanduser(told)
    if os.path.isdir(path):
        inside = [os.path.join(path, *parts) for parts in (("bin", "geodiff"), ("geodiff",))]
        inside += [os.path.join(path, "Scripts", "geodiff.exe")]
        path = next((name for name in inside if os.path.isfile(name)), path)
        if os.path.isdir(path):
            raise NotFound(f"there is no geodiff in the folder {path} ({found_by}): {ADVICE}")
    if not os.path.isfile(path):
        raise NotFound(f"{path} ({found_by}) does not exist: {ADVICE}")
    if not os.access(path, os.X_OK):
        raise NotFound(f"{path} ({found_by}) is not a program that you may run: {ADVICE}")
    return path


def check_version(program: Program, environ: Mapping[str, str], timeout: float = 120) -> str:
    """Ask the program for its version. Raises NotFound if it is another program or too old."""
    try:
        asked = subprocess.run(
            [program.path, "--version"],
            env=clean(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotFound(f"{program.path} does not run ({error}): {ADVICE}") from error
    said = asked.stdout.decode("utf-8", "replace").strip()
    match = re.match(r"geodiff (\d+)\.(\d+)\.(\d+)", said)
    if asked.returncode != 0 or match is None:
        lines = asked.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said or (lines[-1] if lines else f"exit code {asked.returncode}")
        raise NotFound(
            f"{program.path} is not the geodiff that paints mosaics (asked for its version it says "
            f"{reason[:200]!r}): {ADVICE}"
        )
    if tuple(map(int, match.groups())) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise NotFound(f"{program.path} is {said}, and this plugin needs {least} or newer")
    return said


def managed_program(folder: str) -> str:
    """Where geodiff lies in a virtual environment, on this system."""
    parts = ("Scripts", "geodiff.exe") if os.name == "nt" else ("bin", "geodiff")
    return str(Path(folder).joinpath(*parts))
