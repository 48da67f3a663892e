"""A checkpoint of a latent diffusion model -> a model directory that --model takes."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch

from geodiff.errors import OutputError, UsageError
from geodiff.jobs.assemble import quoted
from geodiff.models.conditioner import write_conditioner
from geodiff.models.foreign.checkpoint import LARGEST, Checkpoint, open_checkpoint
from geodiff.models.foreign.latent_diffusion import LatentDiffusion, take_apart
from geodiff.models.foreign.project import read_project
from geodiff.models.foreign.published import CELL, KINDS, recognise
from geodiff.models.kinds import load_codec, load_denoiser
from geodiff.models.parts import stream_tensors
from geodiff.steps import Step, drain


@dataclass(frozen=True)
class ImportRequest:
    """Which checkpoint, and what no file tells of it. Raises UsageError for what makes no sense."""

    checkpoint: str  # .ckpt, .pt or .safetensors
    out: str  # model directory to write
    config: str | None = None  # the project.yaml beside it
    kind: str | None = None  # a name of published.KINDS; None: told by layout and configuration
    name: str | None = None  # of the model in every output; None: the kind
    gsd: float | None = None  # metres per pixel of the finest training images; None: the kind's
    guidance: float | None = None  # default guidance scale; None: the kind's
    licence: str = "not stated: ask who published the weights"  # of the weights
    level: int = 0  # scale to paint at, of a conditioner that knows several; 0 is the finest
    allow: tuple[str, ...] = ()  # patterns of tensors that may be unknown, or missing (then zero)
    ema: bool = True  # take running averages of the weights where the checkpoint has them
    half: bool = False  # write weights in half precision
    largest: float = LARGEST  # GB of a checkpoint, at most
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.gsd is not None and not 0 < self.gsd < math.inf:
            raise UsageError(f"--gsd {self.gsd} must be metres above 0")
        if self.guidance is not None and not 0 <= self.guidance <= 20:
            raise UsageError(f"--guidance {self.guidance} must be between 0 and 20")
        if not self.largest > 0:
            raise UsageError(f"--largest {self.largest} must be GB above 0")


@dataclass(frozen=True)
class Imported:
    """What has been written."""

    path: str
    name: str
    kind: str
    weights: dict[str, int]  # numbers in each part
    averages: bool  # whether the denoiser's are running averages
    left_out: dict[str, int]  # tensors of the checkpoint that went nowhere, by reason
    allowed: tuple[str, ...]  # tensors that were unknown or missing, and allowed to be

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "allowed": list(self.allowed)}


def import_checkpoint(request: ImportRequest) -> Imported:
    """Run :func:`steps` to its end."""
    return drain(steps(request))


def steps(request: ImportRequest) -> Generator[Step, None, Imported]:
    """Read the checkpoint, account for all of it, write its networks, and load them once.

    Nothing in the files is run. Raises OutputError if ``out`` exists without ``overwrite``,
    DataError for files that cannot be read or are refused, ModelError and UsageError for contents
    that are not one of the layouts; then nothing new is left at ``out``.
    """
    out = Path(request.out)
    check_out(out, request.overwrite)
    project = read_project(request.config)
    yield Step("check", 0, 1)
    checkpoint = open_checkpoint(request.checkpoint, request.largest)
    found = take_apart(checkpoint.state, project, request.level, request.ema, request.allow)
    kind = recognise(request.kind, found.conditioner, project)
    yield Step("check", 1, 1)
    building = out.with_name(f".{out.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        yield from write_parts(found, checkpoint, building, request.half)
        made = described(request, kind, found, checkpoint)
        (building / "model.toml").write_text(facts(request, kind, found), encoding="utf-8")
        (building / "import.json").write_text(source(made, checkpoint), encoding="utf-8")
        yield from load_once(building, found)
        shutil.rmtree(out, ignore_errors=True)
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return made


def check_out(out: Path, overwrite: bool) -> None:
    """Raises OutputError where a model may not be written."""
    if out.name in ("", ".."):
        raise OutputError(f"{out} has no name of its own: give that of a folder to write")
    if out.is_symlink() or (out.exists() and not overwrite):
        advice = "give another name" if out.is_symlink() else "give --overwrite to replace it"
        raise OutputError(f"{out} {'is a link' if out.is_symlink() else 'exists'}: {advice}")
    if out.exists() and not (out / "model.toml").is_file():
        raise OutputError(f"{out} is no model directory, so it is not replaced: give another name")


def write_parts(
    found: LatentDiffusion, checkpoint: Checkpoint, folder: Path, half: bool
) -> Generator[Step, None, None]:
    """Write codec, denoiser and conditioner; of large ones one tensor at a time is in memory."""
    dtype = torch.float16 if half else torch.float32
    for done, (part, net) in enumerate(found.networks.items()):
        yield Step("write", done, len(found.networks))
        tensors = found.accounts.tensors(part, checkpoint.state, dtype)
        if part == "conditioner":
            write_conditioner(found.conditioner, dict(tensors), folder / part)
        else:
            stream_tensors(net, tensors, dtype, folder / part)
    channels = found.networks["codec"].config["vq_embed_dim"]
    write_json(
        folder / "codec" / "latents.json",
        {"mean": [0.0] * channels, "std": [1 / found.scale] * channels},
    )
    schedule = {
        "prediction": "epsilon", "steps": found.table.steps, "beta_schedule": "scaled_linear",
        "beta_start": found.table.start, "beta_end": found.table.end,
    }  # fmt: skip
    write_json(folder / "denoiser" / "schedule.json", schedule)
    yield Step("write", len(found.networks), len(found.networks))


def load_once(folder: Path, found: LatentDiffusion) -> Generator[Step, None, None]:
    """Raises ModelError unless what was written can be read."""
    yield Step("load", 0, 2)
    channels = found.networks["codec"].config["vq_embed_dim"]
    load_codec(folder / "codec", [0.0] * channels, [1 / found.scale] * channels)
    yield Step("load", 1, 2)
    load_denoiser(folder / "denoiser", bf16=False)
    yield Step("load", 2, 2)


def described(
    request: ImportRequest, kind: str, found: LatentDiffusion, checkpoint: Checkpoint
) -> Imported:
    """The facts of an import."""
    left_out = {reason: len(names) for reason, names in found.accounts.left_out.items()}
    beside = {f"beside the weights: {name}": n for name, n in checkpoint.beside.items() if n}
    return Imported(
        path=request.out,
        name=request.name or kind,
        kind=kind,
        weights={
            part: sum(value.numel() for value in net.state_dict().values())
            for part, net in found.networks.items()
        },
        averages=found.averages,
        left_out=left_out | beside,
        allowed=tuple(found.accounts.allowed),
    )


def facts(request: ImportRequest, kind: str, found: LatentDiffusion) -> str:
    """The text of model.toml."""
    known = KINDS[kind]
    finest = float(known.gsd if request.gsd is None else request.gsd)
    gsd = finest * 2**found.conditioner.level
    guidance = float(known.guidance if request.guidance is None else request.guidance)
    lines = [
        f"name = {quoted(request.name or kind)}",
        f"gsd = {gsd!r}  # metres per pixel of the training images",
        f"gsd_range = [{gsd!r}, {gsd!r}]",
        f"window = {found.window}  # latents a side of the windows that the denoiser paints",
        f"cell = {CELL // found.conditioner.side}  # pixels a side that one embedding describes",
        f"guidance = {guidance!r}  # default guidance scale",
        f"credit = {quoted(known.credit)}",
        f"licence = {quoted(request.licence)}",
    ]
    return "\n".join(lines) + "\n"


def source(made: Imported, checkpoint: Checkpoint) -> str:
    """The text of import.json: which file the weights are from, and what became of all tensors."""
    with checkpoint.path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    told = {key: value for key, value in made.as_dict().items() if key != "path"}
    table = {"file": checkpoint.path.name, "sha256": digest, **told}
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, table: dict[str, Any]) -> None:
    """A JSON file for people too."""
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
