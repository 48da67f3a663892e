"""A model -> a folder in diffusers' layout with a card, as the Hugging Face hub wants it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geodiff.errors import ModelError, OutputError
from geodiff.geo.provenance import software_version
from geodiff.jobs.model_card import card
from geodiff.models.bundle import Model
from geodiff.models.directory import OPTIONAL, PARTS, SAID, Directory
from geodiff.models.hub import is_hub
from geodiff.models.parts import read_json

BESIDE = ("import.json", "LICENSE")
"""Files of a model that go along where they are there."""

FLOW = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0,
}  # fmt: skip
"""The schedule of a rectified flow in diffusers' words."""


@dataclass(frozen=True)
class ExportRequest:
    """Which model, and where to."""

    out: str  # folder to write
    model: str | None = None  # a model directory, hub:org/name@revision, or None: the shipped one
    overwrite: bool = False


def export(request: ExportRequest) -> Model:
    """Write the folder, load it once and return the model that it holds.

    It gives the same pixels and has the same hash. Raises OutputError if ``out`` exists without
    ``overwrite`` or is no model, ModelError for a model that cannot be loaded or has that layout
    already without facts of its own; then nothing new is left at ``out``.
    """
    out = Path(request.out)
    if out.exists() and not request.overwrite:
        raise OutputError(f"{out} exists: give --overwrite to replace it, or another name")
    if out.exists() and not Directory(out).index.is_file():
        raise OutputError(f"{out} was not exported, so it is not replaced: give another name")
    model = Model.load(request.model, "cpu", "fp32")
    place = Directory(model.path)
    if place.is_plain:
        raise ModelError(f"{place.folder} has diffusers' layout already: it can be shared as it is")
    if out.resolve() == place.folder.resolve():
        raise OutputError(f"{out} is the model itself: give another name")
    building = out.with_name(f".{out.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        write(building, place, model, request.model)
        exported = Model.load(building, "cpu", "fp32")
        if exported.hash != model.hash:
            raise OutputError(f"{building} does not hold what {place.folder} holds: try again")
        shutil.rmtree(out, ignore_errors=True)
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Model.load(out, "cpu", "fp32")


def write(folder: Path, place: Directory, model: Model, named: str | None) -> None:
    """Write everything into an empty ``folder``."""
    (folder / "model_index.json").touch()  # from here on the folder has diffusers' layout
    target = Directory(folder)
    for part in (*PARTS, *OPTIONAL, *SAID):
        if place.has(part):
            (folder / target.name(part)).mkdir()
    for name, path in place.files():
        part, _, rest = name.partition("/")
        copy = target.path(part) / rest if rest else folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for name in BESIDE:
        if (place.folder / name).is_file():
            shutil.copyfile(place.folder / name, folder / name)
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler(target))
    write_json(folder / "model_index.json", index(target))
    own = place.folder / "README.md"
    text = own.read_text(encoding="utf-8") if own.is_file() else ""
    where = named if is_hub(named) else None
    (folder / "README.md").write_text(card(model, text, where), encoding="utf-8")


def index(place: Directory) -> dict[str, Any]:
    """What lies in which folder, in the words of diffusers' pipelines."""
    table: dict[str, Any] = {
        "_class_name": "DiffusionPipeline",
        "_diffusers_version": version("diffusers"),
        "geodiff_version": software_version(),
        "scheduler": ["diffusers", scheduler(place)["_class_name"]],
    }
    for part in ("codec", "denoiser"):
        named = str(read_json(place.path(part) / "config.json", part)["_class_name"])
        home = "geodiff.models.denoiser" if named == "FieldUNet" else "diffusers"
        table[place.name(part)] = [home, named]
    return table


def scheduler(place: Directory) -> dict[str, Any]:
    """The noise levels of training, as diffusers' schedulers tell them."""
    path = place.path("denoiser") / "schedule.json"
    if not path.is_file():
        return {**FLOW, "_diffusers_version": version("diffusers")}
    facts = read_json(path, "schedule")
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": version("diffusers"),
        "num_train_timesteps": facts["steps"],
        "beta_schedule": facts["beta_schedule"],
        "beta_start": facts["beta_start"],
        "beta_end": facts["beta_end"],
        "prediction_type": facts["prediction"],
        "clip_sample": False,
        "set_alpha_to_one": False,
    }


def write_json(path: Path, table: dict[str, Any]) -> None:
    """A table as people can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
