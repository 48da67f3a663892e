"""A stand-in for the Hugging Face hub on the loopback: the parts of its HTTP interface in use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

API = "/api/models/"


@dataclass
class Hub:
    """Repositories (org/name) with their revisions, each a folder, and what was asked of them."""

    revisions: dict[str, dict[str, Path]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)  # files whose content was sent
    url: str = ""

    def add(self, repository: str, folder: Path, *names: str) -> str:
        """Publish a folder as a commit, also under ``names``; the commit's hash."""
        commit = hashlib.sha1(f"{repository} {folder}".encode()).hexdigest()
        for name in (commit, *names):
            self.revisions.setdefault(repository, {})[name] = folder
        return commit

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content for a path."""
        api = path.startswith(API)
        words = path.removeprefix(API).strip("/").split("/")
        repository, rest = "/".join(words[:2]), words[2:]
        if repository in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"gated"
        known = self.revisions.get(repository)
        if known is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"no such repository"
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in known:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"no such revision"
        folder = known[revision]
        commit = next(name for name, place in known.items() if place == folder)
        files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
        if not api:
            return self.content(folder / "/".join(rest[2:]), commit)
        if rest[:1] == ["tree"]:
            found: object = [
                {"type": "file", "path": name_of(f, folder), "size": f.stat().st_size}
                | {"oid": git_hash(f)}
                for f in files
            ]
        else:
            siblings = [{"rfilename": name_of(f, folder)} for f in files]
            found = {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings}
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()

    def content(self, path: Path, commit: str) -> tuple[int, dict[str, str], bytes]:
        """A file as it is sent."""
        if not path.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b"no such file"
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{git_hash(path)}"'}, path.read_bytes()


def name_of(path: Path, folder: Path) -> str:
    """Name of a file in its repository."""
    return path.relative_to(folder).as_posix()


def git_hash(path: Path) -> str:
    """The hash that git gives a file."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers for as long as the body runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send(False)

        def do_GET(self) -> None:
            self.send(True)

        def send(self, whole: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            status, headers, content = hub.answer(path)
            if whole and status == 200 and not path.startswith(API):
                hub.fetched.append("/".join(path.strip("/").split("/")[4:]))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            if whole:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
