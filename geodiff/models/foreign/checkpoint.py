"""A checkpoint of a training program: its tensors by name, whatever file they are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodiff.errors import DataError
from geodiff.models.foreign.archive import read_archive
from geodiff.models.foreign.contents import check_unfolded, tensors
from geodiff.models.foreign.legacy import read_legacy
from geodiff.models.foreign.safetensors_file import read_safetensors
from geodiff.models.foreign.stored import Stored

LARGEST = 32.0
"""GB of a checkpoint, and of its tensors together, at most, unless asked otherwise."""

LONGEST_NAME = 500
"""Characters of a tensor's name, at most."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a network by their names, still in the file, and what else the file holds.

    Raises DataError for names that cannot be shown: they would go to a terminal.
    """

    path: Path
    state: Mapping[str, Stored]
    beside: Mapping[str, int]  # entries beside the state (an optimiser, ...): tensors in each

    def __post_init__(self) -> None:
        for name in (*self.state, *self.beside):
            if not name.isprintable() or len(name) > LONGEST_NAME:
                raise DataError(f"{self.path} has the name {name[:40]!r}: refused")


def open_checkpoint(path: str | Path, largest: float = LARGEST) -> Checkpoint:
    """Read names, types and shapes of a .ckpt, .pt or .safetensors file; no numbers yet.

    Nothing in the file is ever run: pickles go through a machine that knows neither imports nor
    calls. ``largest`` is in GB, of the file and of its tensors together, of which many may share
    the same numbers. Raises DataError, in one line, for files that are missing, no
    checkpoint, too large, damaged, or that hold anything a checkpoint has no need of.
    """
    file = Path(path)
    if not file.is_file():
        fault = "is not a file" if file.exists() else "does not exist"
        raise DataError(f"the checkpoint {file} {fault}")
    size = file.stat().st_size
    if not size <= largest * 1e9:
        raise DataError(
            f"{file} has {size / 1e9:.1f} GB, over the limit of {largest:g} GB: give a higher one"
        )
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    checkpoint = of_kind(file, head)
    unfolded = sum(tensor.nbytes for tensor in checkpoint.state.values()) / 1e9
    if not unfolded <= largest:
        raise DataError(
            f"{file} has {size / 1e9:.1f} GB, but its tensors share their numbers so that they "
            f"would have {unfolded:.1f} GB, over the limit of {largest:g} GB: give a higher one"
        )
    return checkpoint


def of_kind(file: Path, head: bytes) -> Checkpoint:
    """Read the file as what its first bytes, ``head``, say. Raises DataError where it is none."""
    if head.startswith(b"PK\x03\x04"):
        return taken_apart(file, read_archive(file))
    # Before pickles: the first bytes are the length of the header, which may look like theirs.
    if head[8:9] == b"{":
        return Checkpoint(file, read_safetensors(file), {})
    if head.startswith(b"\x80"):
        return taken_apart(file, read_legacy(file))
    raise DataError(
        f"{file} is no checkpoint: it begins neither as PyTorch's files nor as safetensors"
    )


def taken_apart(path: Path, root: Any) -> Checkpoint:
    """The state dictionary in what a pickle held, and how many tensors lie beside it."""
    check_unfolded(root, str(path))
    if not isinstance(root, dict):
        raise DataError(f"{path} holds no table of tensors")
    state = root.get("state_dict", root)
    if not isinstance(state, dict) or not state:
        raise DataError(f"{path} holds no table of tensors under state_dict")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Stored):
            kind = type(value).__name__
            raise DataError(f"{path}: {str(name)[:80]!r} among its tensors is a {kind}, no tensor")
    others = {} if state is root else {k: v for k, v in root.items() if k != "state_dict"}
    beside = {str(name): sum(1 for _ in tensors(value)) for name, value in others.items()}
    return Checkpoint(path, state, beside)
