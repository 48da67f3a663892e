"""A STAC API that takes items, on the loopback: stac-fastapi-pgstac over PostgreSQL, PostGIS."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VENV = "GEODIFF_PGSTAC_VENV"
"""Environment variable: an environment with stac-fastapi-pgstac[server] and pypgstac[psycopg]."""


def program(name: str) -> str:
    """A program of that environment, or of the one that runs; skips where it is missing."""
    folders = [Path(os.environ[VENV]) / "bin"] if VENV in os.environ else []
    for folder in (*folders, Path(sys.executable).parent):
        if (folder / name).exists():
            return str(folder / name)
    pytest.skip(f"{name} is missing: pip install 'stac-fastapi-pgstac[server]' 'pypgstac[psycopg]'")


def postgres() -> Path:
    """The folder of PostgreSQL's programs; skips where they or PostGIS are missing."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        version = folder.parent.name
        if (Path("/usr/share/postgresql") / version / "extension" / "postgis.control").exists():
            return folder
    pytest.skip("PostgreSQL with PostGIS is missing: apt-get install postgresql-15-postgis-3")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """An empty database named postgis; the variables by which its clients find it."""
    bin_, port = postgres(), free_port()
    # Not in a folder of pytest's: every session that starts closes those for other users.
    place = Path(tempfile.mkdtemp(prefix="geodiff-pgstac-"))
    root = os.geteuid() == 0  # as which PostgreSQL does not run
    if root:
        shutil.chown(place, "postgres")

    def run(*words: str) -> None:
        line = shlex.join([str(bin_ / words[0]), *words[1:]])
        command = ["su", "postgres", "-c", line] if root else ["sh", "-c", line]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    run("initdb", "-D", str(place), "-A", "trust", "-U", "postgres")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {place}"
    run("pg_ctl", "-D", str(place), "-o", options, "-l", str(place / "log"), "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgis")
        yield {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres",
               "PGDATABASE": "postgis", "PGPASSWORD": "x"}  # fmt: skip
    finally:
        run("pg_ctl", "-D", str(place), "-m", "immediate", "-w", "stop")
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def pgstac(folder: Path) -> Iterator[str]:
    """The address of an empty API that takes collections and items."""
    uvicorn, pypgstac = program("uvicorn"), program("pypgstac")
    with database() as variables:
        env = {**os.environ, **variables, "ENABLE_TRANSACTIONS_EXTENSIONS": "true"}
        done = subprocess.run([pypgstac, "migrate"], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        url = f"http://127.0.0.1:{(port := free_port())}"
        with (folder / "api.log").open("w") as log:
            process = subprocess.Popen(
                [uvicorn, "--factory", "--host", "127.0.0.1", "--port", str(port),
                 "stac_fastapi.pgstac.app:create_app"],
                env=env, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for(url, process, folder / "api.log")
            yield url
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the API answers."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError("stac-fastapi-pgstac does not answer")
