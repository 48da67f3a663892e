"""Trained parts -> a model directory that `geodiff synthesize --model` loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from geodiff.errors import DataError, ModelError, OutputError
from geodiff.models.bundle import OPTIONAL, PARTS, Model


@dataclass(frozen=True)
class AssembleRequest:
    """Where the parts are and what model.toml will say."""

    out: str  # model directory to write
    encoder: str  # a part: <run>/encoder, and so on
    codec: str
    denoiser: str
    prior: str
    name: str
    gsd: float = 0.6  # metres per pixel of a mosaic whose resolution nobody asked for
    gsd_range: tuple[float, float] = (0.3, 1.0)  # metres per pixel seen in training
    window: int = 32  # latents a side of a window
    guidance: float = 1.5  # default guidance scale
    credit: str = ""  # of the training imagery
    licence: str = "Apache-2.0"  # of the weights
    probe: str | None = None  # an optional part, see geodiff.models.probe
    steer: float = 0.5  # how far a probe steers predictions
    card: str | None = None  # a Markdown file to go along as README.md
    overwrite: bool = False


def assemble(request: AssembleRequest) -> Model:
    """Copy the parts together, write model.toml and load the result once.

    Raises OutputError if ``out`` exists without ``overwrite`` and ModelError where the parts do not
    fit; then nothing new is left at ``out``.
    """
    out = Path(request.out)
    if out.exists() and not request.overwrite:
        raise OutputError(f"{out} exists: give --overwrite to replace it, or another name")
    if out.exists() and not (out / "model.toml").is_file():
        raise OutputError(f"{out} is no model directory, so it is not replaced: give another name")
    if request.card and not Path(request.card).is_file():
        raise DataError(f"the model card {request.card} does not exist")
    building = out.with_name(f".{out.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        given = {part: getattr(request, part) for part in (*PARTS, *OPTIONAL)}
        for part, folder in given.items():
            if folder is None:
                continue
            source = Path(folder)
            if not source.is_dir():
                raise ModelError(f"the {part} {source} is not a directory")
            shutil.copytree(source, building / part, copy_function=shutil.copyfile)
        (building / "model.toml").write_text(facts(request), encoding="utf-8")
        if request.card:
            shutil.copyfile(request.card, building / "README.md")
        try:
            Model.load(building)
        except ModelError as error:  # in the words of the user: the folder is gone by then
            said = str(error)
            for part, folder in given.items():
                said = said.replace(str(building / part), str(folder))
            raise ModelError(said.replace(str(building), str(out))) from error
        shutil.rmtree(out, ignore_errors=True)
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Model.load(out)


def facts(request: AssembleRequest) -> str:
    """The text of model.toml."""
    low, high = request.gsd_range
    lines = [
        f"name = {quoted(request.name)}",
        f"gsd = {float(request.gsd)!r}  # metres per pixel, the default of a mosaic",
        f"gsd_range = [{float(low)!r}, {float(high)!r}]  # metres per pixel seen in training",
        f"window = {request.window}  # latents a side of the windows that the denoiser paints",
        f"guidance = {float(request.guidance)!r}  # default guidance scale",
        f"steer = {float(request.steer)!r}  # towards the asked embeddings, by the probe",
        f"credit = {quoted(request.credit)}",
        f"licence = {quoted(request.licence)}",
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A TOML basic string; JSON escapes the same characters, except for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
