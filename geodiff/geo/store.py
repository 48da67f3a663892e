"""Where a catalogue goes: a folder of this computer, or a place behind an address (fsspec)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from geodiff.errors import OutputError, UsageError
from geodiff.geo.provenance import clean_href
from geodiff.geo.writing import write_failure

S3 = "/vsis3/"
"""How GDAL writes s3://."""


class Store(Protocol):
    """Files by names such as ``items/a.tif``; what is written appears whole or not at all."""

    where: str  # in messages

    def read(self, name: str) -> str | None:
        """The text of a file; None where there is none."""

    def write(self, name: str, text: str) -> None:
        """Write or replace a text file. Raises OutputError where that fails."""

    def take(self, path: Path, name: str) -> None:
        """Move a local file here, replacing what was there. Raises OutputError."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Names (with the folder) and bytes of the files in a folder."""

    def local(self, name: str) -> Path | None:
        """Where a file lies on this computer; None for a store that is elsewhere."""


class Folder:
    """A folder of this computer."""

    def __init__(self, path: str) -> None:
        self.path, self.where = Path(path), path

    def read(self, name: str) -> str | None:
        """See Store."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.path / name).read_text(encoding="utf-8")
        return None

    def write(self, name: str, text: str) -> None:
        """See Store."""
        target = self.path / name
        temporary = target.with_name(f".{target.name}.new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise failure(target, error) from error

    def take(self, path: Path, name: str) -> None:
        """See Store."""
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            raise failure(target, error) from error

    def sizes(self, folder: str) -> dict[str, int]:
        """See Store."""
        with suppress(OSError):
            found = [entry for entry in os.scandir(self.path / folder) if entry.is_file()]
            return {f"{folder}/{entry.name}": entry.stat().st_size for entry in found}
        return {}

    def local(self, name: str) -> Path:
        """See Store."""
        return self.path / name


def failure(target: Path, error: OSError) -> OutputError:
    """A write that failed, in one line, with the option that a catalogue has."""
    return OutputError(str(write_failure(target, error)).removesuffix("--out") + "--out-dir")


class Remote:
    """A place behind an address that fsspec knows, such as s3://bucket/folder."""

    def __init__(self, url: str) -> None:
        self.where = clean_href(url)
        try:
            import fsspec

            self.files, self.root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise UsageError(
                f"--out-dir {self.where} needs fsspec and what it reads that address with "
                f"({error}): pip install 'geodiff-mosaic[cloud]'"
            ) from error
        except ValueError as error:
            raise UsageError(f"--out-dir {self.where} is no address: {error}") from error

    def read(self, name: str) -> str | None:
        """See Store."""
        with self.failing(name), suppress(FileNotFoundError):
            content: bytes = self.files.cat_file(self.at(name))
            return content.decode("utf-8", errors="replace")
        return None

    def write(self, name: str, text: str) -> None:
        """See Store."""
        with self.failing(name):
            self.files.pipe_file(self.at(name), text.encode())

    def take(self, path: Path, name: str) -> None:
        """See Store; what arrived is as long as what was sent, or it is an error."""
        with self.failing(name):
            self.files.put_file(str(path), self.at(name))
            self.files.invalidate_cache()
            there = self.files.info(self.at(name))["size"]
            if there != path.stat().st_size:
                raise OSError(f"{there} of {path.stat().st_size} bytes arrived")
            path.unlink()

    def sizes(self, folder: str) -> dict[str, int]:
        """See Store."""
        with self.failing(folder), suppress(FileNotFoundError):
            self.files.invalidate_cache()
            found: list[dict[str, Any]] = self.files.ls(self.at(folder), detail=True)
            return {f"{folder}/{Path(one['name']).name}": int(one["size"] or 0) for one in found}
        return {}

    def local(self, name: str) -> None:
        """See Store: never."""
        return

    def at(self, name: str) -> str:
        """A name as the file system has it."""
        return f"{self.root.rstrip('/')}/{name}"

    @contextmanager
    def failing(self, name: str) -> Iterator[None]:
        """Turn what the clients raise into one line."""
        try:
            yield
        except Exception as error:  # botocore's, aiohttp's, ..
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise OutputError(
                f"{self.where}/{name} cannot be reached ({told}): check the address and the "
                "credentials"
            ) from error


def open_store(where: str) -> Store:
    """The place that a path or an address names. Raises UsageError where fsspec is missing."""
    url = f"s3://{where.removeprefix(S3)}" if where.startswith(S3) else where
    return Remote(url) if "://" in url else Folder(url)


@contextmanager
def sole(folder: Path) -> Iterator[None]:
    """A local folder, made if need be, for one run at a time. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".geodiff-batch.lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"another run is writing {folder}: wait for it, stop it, or choose another --out-dir"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{folder} is no folder: choose another --out-dir") from error
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder} ({error.strerror}): choose another --out-dir"
        ) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def clear(folder: Path, kept: Path | None = None) -> None:
    """Remove the hidden folders in which runs painted; ``kept`` stays unless it is empty."""
    for left in folder.glob(".painting-*"):
        if left == kept:
            with suppress(OSError):
                left.rmdir()
        else:
            shutil.rmtree(left, ignore_errors=True)
