"""A checkpoint on disk: written in one step, refused where it is damaged or of another run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geodiff.errors import DataError, OutputError
from geodiff.geo.writing import WRITE_ERRORS, write_failure
from geodiff.models.files import tidy

STATE = "state.safetensors"
"""Name of the checkpoint in a run's folder."""

FORMER = "former.safetensors"
"""The checkpoint before that one: for a run whose weights were lost without a sign of it."""

FREE = frozenset(
    {"run", "steps", "learning_rate", "warmup", "decay", "clip", "device"}
    | {"save_every", "log_every", "sample_every", "samples"}
)
"""Keys that may differ when a run goes on: where and how often, how long and how fast."""


def write_state(folder: Path, tensors: Mapping[str, torch.Tensor], step: int, config: Any) -> None:
    """Write a checkpoint (safetensors); replaced in one step, so it is never half-written.

    The one before it stays as ``FORMER`` where the disk knows links. Raises OutputError where it
    cannot be written; nothing has changed then.
    """
    meta = {"step": str(step), "config": json.dumps(vars(config), sort_keys=True)}
    temporary = folder / "state.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), temporary, metadata=meta)
        tidy(temporary)
        with suppress(OSError):
            (folder / FORMER).unlink(missing_ok=True)
            os.link(folder / STATE, folder / FORMER)
        os.replace(temporary, folder / STATE)
        (folder / "progress.json").write_text(json.dumps({"step": step}))
    except (*WRITE_ERRORS, SafetensorError) as error:
        raise run_failure(folder / STATE, error) from error
    finally:
        with suppress(OSError):  # a file where the folder should be
            temporary.unlink(missing_ok=True)


def step_back(folder: Path) -> bool:
    """Put the former checkpoint in the place of the last one; whether there was one."""
    try:
        os.replace(folder / FORMER, folder / STATE)
    except OSError:
        return False
    return True


@contextmanager
def encoding(cache: Path, unfinished: Sequence[Path]) -> Iterator[None]:
    """Turn a failing disk into one OutputError, and remove what is still under ``unfinished``."""
    try:
        yield
    except OSError as error:
        raise run_failure(cache, error) from error
    finally:
        for path in unfinished:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def run_failure(path: Path, error: BaseException) -> OutputError:
    """The one-line OutputError for a file of a run's folder that cannot be written."""
    return OutputError(str(write_failure(path, error)).replace("--out", "run folder (--run)"))


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], int, dict[str, Any]]:
    """Tensors of a checkpoint, its step and its configuration. Raises DataError if damaged."""
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            names = list(file.keys())
            config = json.loads(meta["config"])
            return {name: file.get_tensor(name) for name in names}, int(meta["step"]), config
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise DataError(
            f"the checkpoint {path} cannot be read ({error}): remove it to start afresh"
        ) from error


def check_config(path: Path, stored: Mapping[str, Any], config: Any) -> None:
    """Raises DataError, naming the keys, where a checkpoint was written for another training.

    A key that the checkpoint does not know had its default then.
    """
    usual = {
        f.name: f.default
        for f in dataclasses.fields(config)
        if f.default is not dataclasses.MISSING
    }
    now = json.loads(json.dumps(vars(config)))
    before = {**json.loads(json.dumps(usual)), **stored}
    differing = [
        f"{key} was {before.get(key)!r}, is {now[key]!r}"
        for key in now
        if key not in FREE and before.get(key) != now[key]
    ]
    if differing:
        raise DataError(
            f"the checkpoint {path} is of another configuration: {'; '.join(differing)}. Put that "
            "back, give another run folder (--run), or remove the checkpoint"
        )
