"""Models of the Hugging Face hub: names, the files that are fetched, and where they then lie."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geodiff.errors import ModelError, UsageError
from geodiff.models.directory import DIFFUSERS, OPTIONAL, PARTS, SAID

log = logging.getLogger(__name__)

HUB = "hub:"
"""What names of models of the hub begin with."""

THEIRS = tuple(name for names in DIFFUSERS.values() for name in names)

FOLDERS = (*PARTS, *OPTIONAL, *SAID, *THEIRS, "scheduler")

ALLOWED = (
    *("model.toml", "model_index.json", "import.json", "README.md", "LICENSE*"),
    *(f"{folder}/*.{kind}" for folder in FOLDERS for kind in ("json", "safetensors")),
)
"""All that is fetched: tables, numbers and cards. Never code, a pickle or another archive."""

VARIANTS = ("*.fp16.*", "*.bf16.*", "*.non_ema.*")
"""Weights in diffusers' layout that are there a second time."""

_NAME = re.compile(
    r"hub:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubName:
    """``hub:org/name@revision``. Raises UsageError for what is none."""

    repository: str  # org/name
    revision: str | None  # commit, tag or branch; None: the newest

    @classmethod
    def of(cls, name: str) -> HubName:
        """The parts of a name."""
        found = _NAME.fullmatch(name)
        if found is None or ".." in name:
            raise UsageError(
                f"--model {name} names no model of the hub: write hub:org/name, or "
                "hub:org/name@revision for a commit, a tag or a branch"
            )
        return cls(found["repository"], found["revision"])


def is_hub(model: object) -> bool:
    """Whether it names a model of the hub rather than a directory."""
    return isinstance(model, str) and model.startswith(HUB)


def fetch(name: str) -> Path:
    """The folder of a model of the hub, fetched into the hub's own cache unless it is there.

    A revision that is a commit pins every file. Without a network the cache serves what was fetched
    before. The server is that of $HF_ENDPOINT, the cache that of $HF_HOME, as everywhere. Raises
    UsageError for a name that is none, ModelError in one line for what the hub does not give and
    for a repository that holds no model.
    """
    asked = HubName.of(name)
    from huggingface_hub import snapshot_download

    endpoint = os.environ.get("HF_ENDPOINT")  # the library reads it once, when it is imported
    try:
        with without_bars():
            folder = snapshot_download(
                asked.repository,
                revision=asked.revision,
                allow_patterns=list(ALLOWED),
                ignore_patterns=list(VARIANTS),
                library_name="geodiff",
                endpoint=endpoint,
            )
    except Exception as error:  # the library's, its HTTP client's, the disk's: they vary
        raise ModelError(f"{name} cannot be fetched from the hub: {reason(error)}") from error
    path = Path(folder)
    if not any((path / index).is_file() for index in ("model.toml", "model_index.json")):
        raise ModelError(
            f"{name} holds no model that geodiff runs: it has neither model.toml nor "
            "model_index.json (a checkpoint is turned into a model by `geodiff import`)"
        )
    if asked.revision is None or not _COMMIT.fullmatch(asked.revision):
        log.info("model: %s is commit %s now; @%s pins it", name, path.name, path.name)
    return path


def reason(error: BaseException) -> str:
    """The first sentence of what the library tells, which fills many lines."""
    kind = type(error).__name__
    words = {
        "RepositoryNotFoundError": "there is no such repository, or it is private and needs a "
        "token ($HF_TOKEN)",
        "GatedRepoError": "its owners ask you to agree to their terms first, on the repository's "
        "page, and to give a token ($HF_TOKEN)",
        "RevisionNotFoundError": "it has no such revision",
    }
    if kind in words:
        return words[kind]
    lines = " ".join(str(error).split()) or kind
    return lines if len(lines) <= 200 else f"{lines[:200]}..."


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep the library's own progress bars off stderr, where ours and JSON lines are."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
