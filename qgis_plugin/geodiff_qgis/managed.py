"""A virtual environment with geodiff that the plugin makes where the user wants one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodiff_qgis.environment import clean, managed_program
from geodiff_qgis.runner import Run

OLDEST_PYTHON = (3, 11)
CARD = "environment.json"
"""What an environment was made of. Written last, so that only a whole one has it."""

SOURCES = (".py", ".toml", ".json", ".safetensors")
"""Ends of the names of files that an installation depends on."""
MADE = {"build", "dist", "runs", "datasets"}
"""Folders at the top of a copy of the repository that are no part of what is installed."""

NAMES = ("python3.13", "python3.12", "python3.11", "python3", "python")


class SetupError(Exception):
    """The environment cannot be made; one line that says what to do."""


class Tool(Run):
    """A program that is no geodiff, such as pip: everything it says is an event in words."""

    merged = True


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of. Raises SetupError for a requirement that is none."""

    python: str  # the interpreter that makes it
    version: tuple[int, int]  # its version
    requirement: str  # what pip installs: a folder, a wheel or a name, with extras

    def __post_init__(self) -> None:
        if not self.requirement.strip() or self.requirement.lstrip().startswith("-"):
            raise SetupError("choose what to install: the folder or the wheel of geodiff")

    @property
    def hash(self) -> str:
        """Another requirement, another Python or another content is another environment."""
        told = f"{self.requirement.strip()}\n{self.version[0]}.{self.version[1]}\n"
        return hashlib.sha256(told.encode() + self._content()).hexdigest()[:12]

    def _content(self) -> bytes:
        """What tells one state of a folder or wheel from another; nothing for a name."""
        path = Path(self.requirement.strip().partition("[")[0])
        told = hashlib.sha256()
        for file in sources(path) if path.is_dir() else [path]:
            with contextlib.suppress(OSError):
                told.update(str(file.relative_to(path)).encode() + file.read_bytes())
        return told.digest()

    def folder(self, root: Path) -> Path:
        """Where the environment lies, below the folder of all of them."""
        return root / f"venv-{self.hash}"


def sources(folder: Path) -> Iterator[Path]:
    """The files of a copy of the repository that an installation depends on."""
    for root, folders, names in os.walk(folder):
        left_out = MADE if Path(root) == folder else set()
        folders[:] = sorted({name for name in folders if name[0] != "."} - left_out)
        if "pyvenv.cfg" in names:
            folders.clear()
        yield from (Path(root, name) for name in sorted(names) if name.endswith(SOURCES))


def pythons(
    environ: Mapping[str, str], names: tuple[str, ...] = NAMES
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Interpreters on PATH that are new enough, with their versions."""
    seen = set()
    for name in names:
        path = shutil.which(name, path=environ.get("PATH"))
        if path is None or os.path.realpath(path) in seen:
            continue
        seen.add(os.path.realpath(path))
        version = python_version(path, environ)
        if version is not None and version >= OLDEST_PYTHON:
            yield path, version


def python_version(path: str, environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Major and minor version of an interpreter that can make environments; None otherwise."""
    ask = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
    try:
        said = subprocess.run(
            [path, "-c", ask], env=clean(environ), capture_output=True, timeout=30, check=True
        )
        major, minor = map(int, said.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return major, minor


def newest_program(root: Path) -> str | None:
    """The geodiff of the newest whole environment below ``root``; None if there is none."""
    cards = sorted(root.glob(f"venv-*/{CARD}"), key=lambda card: card.stat().st_mtime)
    programs = [managed_program(str(card.parent)) for card in cards]
    return next((path for path in reversed(programs) if os.path.isfile(path)), None)


def commands(recipe: Recipe, root: Path) -> Iterator[tuple[str, list[str]]]:
    """What is run to make the environment, one after the other, each with a line for people."""
    folder = recipe.folder(root)
    inside = Path(managed_program(str(folder))).parent
    python = str(inside / ("python.exe" if os.name == "nt" else "python"))
    yield f"Making {folder}", [recipe.python, "-m", "venv", "--clear", str(folder)]
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    yield f"Installing {recipe.requirement} (this takes minutes)", [*pip, recipe.requirement]
    yield "Asking geodiff for its version", [managed_program(str(folder)), "--version"]


def finish(recipe: Recipe, root: Path) -> None:
    """Write the card: from now on the environment counts."""
    card: dict[str, Any] = {
        "requirement": recipe.requirement.strip(),
        "python": recipe.python,
        "python_version": list(recipe.version),
        "hash": recipe.hash,
    }
    (recipe.folder(root) / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def is_whole(recipe: Recipe, root: Path) -> bool:
    """Whether just this environment is there already."""
    folder = recipe.folder(root)
    return (folder / CARD).is_file() and os.path.isfile(managed_program(str(folder)))


def outdated(recipe: Recipe, root: Path, used: Iterable[str] = ()) -> list[Path]:
    """The environments below ``root`` that were made here before this one and may be removed.

    One counts only with its card, whose hash must be that of the folder's name, and as a virtual
    environment that lies there itself. Where one of the ``used`` programs or folders lies it stays.
    """
    found = []
    for card in sorted(root.glob(f"venv-*/{CARD}")):
        folder = card.parent
        if folder == recipe.folder(root) or folder.is_symlink():
            continue
        whole = os.path.abspath(folder)
        paths = (os.path.abspath(os.path.expanduser(path)) for path in used if path.strip())
        if any(Path(path).is_relative_to(whole) for path in paths):
            continue
        try:
            told = json.loads(card.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        own = isinstance(told, dict) and folder.name == f"venv-{told.get('hash')}"
        if own and (folder / "pyvenv.cfg").is_file():
            found.append(folder)
    return found


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep two QGIS windows from making environments at once; raises SetupError for the second.

    A lock whose process is gone is taken over.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = root / "lock"
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        if _lives(lock):
            raise SetupError(
                f"another QGIS is setting up geodiff: wait for it (or remove {lock})"
            ) from None
        handle = os.open(lock, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    with os.fdopen(handle, "w") as file:
        file.write(str(os.getpid()))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _lives(lock: Path) -> bool:
    """Whether the process that holds a lock is still there; Windows does not tell, so yes."""
    try:
        number = int(lock.read_text())
    except (OSError, ValueError):
        return False
    if os.name == "nt":
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
