"""The files of a model: which parts there are, what model.toml says of them, and their hash."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodiff.errors import ModelError

PARTS = ("encoder", "codec", "denoiser", "prior")

OPTIONAL = ("probe",)
"""Parts that a model may do without."""

NEEDED = ("codec", "denoiser")
"""Parts without which nothing can be painted: all that a model with `cell` in model.toml needs."""

SAID = ("conditioner",)
"""Parts that belong to the denoiser, where it has them."""

CHECKPOINT = "; `geodiff import` turns a checkpoint into a model directory"

PIECE = 2**20
"""Bytes of a file that are in memory while it is hashed."""

WIDEST = 4096
"""Latents a side of a window, and pixels of a cell, at most."""

DIFFUSERS = {"codec": ("vae", "vqvae"), "denoiser": ("unet",)}
"""Names of our parts in a folder of diffusers, which has a model_index.json; the first is ours."""


@dataclass(frozen=True)
class Directory:
    """A model directory, ours or in diffusers' layout."""

    folder: Path

    @property
    def index(self) -> Path:
        """What marks a folder of diffusers."""
        return self.folder / "model_index.json"

    @property
    def is_plain(self) -> bool:
        """Whether it is a folder of diffusers that knows nothing of geodiff."""
        return self.index.is_file() and not (self.folder / "model.toml").exists()

    def name(self, part: str) -> str:
        """The folder of a part within the directory."""
        if part not in DIFFUSERS or not self.index.is_file():
            return part
        names = DIFFUSERS[part]
        return next((name for name in names if (self.folder / name).is_dir()), names[0])

    def path(self, part: str) -> Path:
        """Where a part lies, or would."""
        return self.folder / self.name(part)

    def has(self, part: str) -> bool:
        """Whether the part is there."""
        return self.path(part).is_dir()

    def sizes(self) -> dict[str, int]:
        """Bytes of the parts that are there."""
        return {
            part: sum(f.stat().st_size for f in self.path(part).rglob("*") if f.is_file())
            for part in (*PARTS, *OPTIONAL, *SAID)
            if self.has(part)
        }

    def facts(self) -> dict[str, Any]:
        """The table of model.toml, checked. Raises ModelError for what is missing or unknown."""
        toml = self.folder / "model.toml"
        if not self.folder.is_dir():
            fault = "is a file" if self.folder.exists() else "does not exist"
            told = fault + CHECKPOINT * self.folder.is_file()
            raise ModelError(f"the model directory {self.folder} {told}")
        table = read_table(toml) if toml.exists() else {}
        needed = NEEDED if "cell" in table or self.is_plain else PARTS
        missing = [] if toml.exists() or self.is_plain else ["model.toml"]
        missing += [self.name(part) for part in needed if not self.has(part)]
        if missing:
            raise ModelError(
                f"the model directory {self.folder} is not complete; missing: "
                f"{', '.join(missing)}{self.hint()}"
            )
        if self.is_plain:
            from geodiff.models.plain import plain_facts

            return plain_facts(self)
        try:
            return checked(table)
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{toml} is not usable: {error!r}") from error

    def hint(self) -> str:
        """What a folder of diffusers that is no model may be instead, in words; else nothing."""
        if self.index.is_file() or (self.folder / "model.toml").exists():
            return ""
        if (self.folder / "config.json").is_file():
            return (
                " (it is one network of diffusers; a model is a folder with it as vae or unet, its "
                "counterpart, a scheduler and model_index.json)"
            )
        if any((self.folder / name).is_dir() for names in DIFFUSERS.values() for name in names):
            return " (in a folder of diffusers: model_index.json)"
        return ""

    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 over the names and bytes of all files of the model.

        The same in both layouts, and whatever else lies in the folder. Raises ModelError for one
        that cannot be read.
        """
        total = hashlib.sha256()
        for name, path in sorted(self.files(), key=lambda file: file[0].split("/")):
            total.update(name.encode())
            try:
                with path.open("rb") as file:
                    while piece := file.read(PIECE):
                        total.update(piece)
            except OSError as error:
                raise ModelError(f"{path} cannot be read ({error.strerror}): check it") from error
        return total.hexdigest()[:16]

    def files(self) -> Iterator[tuple[str, Path]]:
        """The files that pixels depend on, each with its name in our own layout."""
        for path in (self.folder / "model.toml", self.folder / "scheduler/scheduler_config.json"):
            if path.is_file() and (self.is_plain or path.name == "model.toml"):
                yield path.name, path
        for part in (*PARTS, *OPTIONAL, *SAID):
            for path in self.path(part).rglob("*"):
                if is_ours(path.name) and path.is_file():
                    yield f"{part}/{path.relative_to(self.path(part)).as_posix()}", path


def is_ours(name: str) -> bool:
    """Whether a file of a part is read: no card, no checkpoint, no weights in another precision."""
    return name.count(".") == 1 and name.endswith((".json", ".safetensors"))


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file. Raises ModelError for one that is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not usable: {error!r}") from error


def checked(table: dict[str, Any]) -> dict[str, Any]:
    """The facts of a model. Raises KeyError, ValueError or TypeError for what makes no sense."""
    gsd, (low, high) = float(table["gsd"]), map(float, table["gsd_range"])
    if not (0 < low <= high < float("inf") and 0 < gsd < float("inf")):
        raise ValueError(f"gsd {gsd} with gsd_range {low} to {high}: give metres above 0")
    cell = table.get("cell")
    for name, given, what in (("window", table["window"], "latents"), ("cell", cell, "pixels")):
        if given is not None and not 1 <= int(given) <= WIDEST:
            raise ValueError(f"{name} {given}: give {what}, from 1 to {WIDEST}")
    if not 0 <= float(table.get("steer", 0.0)) < float("inf"):
        raise ValueError(f"steer {table['steer']}: give a number from 0")
    return {
        "name": str(table["name"]),
        "gsd": gsd,
        "gsd_range": (low, high),
        "window": int(table["window"]),
        "guidance": float(table["guidance"]),
        "steer": float(table.get("steer", 0.0)),
        "cell": None if cell is None else int(cell),
        "credit": str(table["credit"]),
        "licence": str(table["licence"]),
    }


def latent_statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of raw latents per channel, from latents.json in a codec's folder."""
    path = folder / "latents.json"
    try:
        table = json.loads(path.read_text())
        return [float(value) for value in table["mean"]], [float(value) for value in table["std"]]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is not usable: {error!r}") from error


def digest(folder: Path) -> str:
    """The hash of the model in ``folder``, see ``Directory.digest``."""
    return Directory(folder).digest()
