"""Labelled real images -> synthetic variations of them, with labels, place and provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from geodiff.diffusion.noise import NOISE_VERSION
from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.grid import PixelGrid
from geodiff.geo.provenance import Provenance, source_name
from geodiff.jobs.mosaic import values
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.variations.files import is_inside, put, write, write_table
from geodiff.jobs.variations.labelled import LABELS, Labelled, find_images
from geodiff.jobs.variations.paint import paint
from geodiff.jobs.variations.recipes import Recipe, recipes, rows
from geodiff.models.bundle import Model
from geodiff.steps import Step

FACTS = "augment.json"
"""Beside the images: everything that they depend on. A run goes on only where it is the same."""

MODE = "balanced"


@dataclass(frozen=True)
class AugmentRequest:
    """What to vary, how often, and where to. Raises UsageError for what makes no sense."""

    sources: tuple[str, ...]  # files, folders, patterns, or prepared data sets
    out: str  # folder to write
    per_image: int = 4  # synthetic images an image
    mix: float = 0.0  # share of them that are interpolations with another image of the class
    labels: str | None = None  # table; None: the labels.csv of each folder
    split: str = "train"  # of a data set
    skip_small: bool = False  # leave out images smaller than a window
    gsd: float | None = None  # metres per pixel of images without CRS; None: the model's
    model: str | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    device: str = "auto"
    overwrite: bool = False
    command: str = ""  # the command line, for provenance

    def __post_init__(self) -> None:
        values.settle(self, {"seed": values.seed, "out": values.path, "gsd": values.metres})
        if not self.sources:
            raise UsageError("nothing to vary: give images, folders or a prepared data set")
        if not 1 <= self.per_image <= 1000:
            raise UsageError(f"--per-image {self.per_image} must be between 1 and 1000")
        if not 0 <= self.mix <= 1:
            raise UsageError(f"--mix {self.mix:g} must be a share between 0 and 1")
        if self.split not in ("train", "val"):
            raise UsageError(f"--split {self.split} is unknown; choose train or val")
        inside = [source for source in self.sources if is_inside(source, self.out)]
        if inside:
            raise UsageError(f"{inside[0]} is or holds the output {self.out}: choose another --out")


@dataclass(frozen=True)
class Augmented:
    """What a finished run leaves behind."""

    path: str  # the folder
    table: str  # labels.csv in it
    images: int  # real ones
    made: int  # synthetic ones, of this run and of those it went on with
    classes: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return dict(vars(self))


def augment(request: AugmentRequest) -> Generator[Step, None, Augmented]:
    """Make all variations; the generator's value says where they are.

    Every file is put into place whole, and labels.csv last: a folder without it is unfinished, and
    the same request goes on with it. Raises DataError for images and labels that do not do,
    OutputError where the folder holds something else.
    """
    yield Step("load", 0, 1)
    images = find_images(request.sources, request.labels, request.gsd, request.split)
    model = Model.load(request.model, request.device)
    images, note = large_enough(images, model, request.skip_small)
    plan = recipes(images, request.per_image, request.mix, request.seed)
    sampling = Sampling.of(MODE, model, request.steps, request.guidance, 2)
    out = Path(request.out)
    begin(out, facts(request, model, sampling, images), plan, request.overwrite)
    yield Step("load", 1, 1, notes=(*note, *unplaced(images, model)))
    total = sum(len(own) for own in plan)
    done = 0
    for number, own in enumerate(plan):
        if not all((out / recipe.path).exists() for recipe in own):
            for recipe, pixels in zip(own, paint(model, sampling, images, own), strict=True):
                if not (out / recipe.path).exists():
                    about = provenance(request, model, sampling, images, recipe)
                    write(out / recipe.path, pixels, grid_of(images[number], recipe), about)
        done += len(own)
        yield Step("augment", done, total)
    flat = [recipe for own in plan for recipe in own]
    write_table(out / LABELS, rows(flat, images))
    labels = {image.label for image in images if image.label}
    return Augmented(str(out), str(out / LABELS), len(images), len(flat), len(labels))


def large_enough(
    images: Sequence[Labelled], model: Model, skip: bool
) -> tuple[list[Labelled], tuple[str, ...]]:
    """The images of at least a window, and a note on the others.

    Raises DataError for smaller ones unless ``skip``, and where none is left.
    """
    side = model.window * model.codec.factor
    small = [image for image in images if min(image.grid.window.shape) < side]
    kept = [image for image in images if min(image.grid.window.shape) >= side]
    if not small:
        return kept, ()
    height, width = small[0].grid.window.shape
    words = (
        f"{len(small)} of {len(images)} images are smaller than a window of {side} x {side} px, "
        f"such as {small[0].name} ({height} x {width} px)"
    )
    if not skip or not kept:
        raise DataError(f"{words}: leave them out with --skip-small, or give larger ones")
    return kept, (f"{words}: left out",)


def unplaced(images: Sequence[Labelled], model: Model) -> tuple[str, ...]:
    """A note on images whose metres per pixel nobody told."""
    count = sum(image.grid.crs is None and image.gsd is None for image in images)
    if not count:
        return ()
    return (
        f"{count} of {len(images)} images have no CRS: {model.gsd:g} m per pixel is assumed; give "
        "--gsd METRES if it is another",
    )


def facts(
    request: AugmentRequest, model: Model, sampling: Sampling, images: Sequence[Labelled]
) -> dict[str, Any]:
    """Everything that the synthetic images depend on."""
    known = hashlib.sha256()
    for image in images:
        known.update(f"{image.name}/{image.label}/{image.grid.window}/{image.gsd}".encode())
        known.update(content(image))
    return {
        "model": model.hash,
        "seed": request.seed,
        "per_image": request.per_image,
        "mix": request.mix,
        "mode": MODE,
        "steps": sampling.steps,
        "guidance": sampling.guidance,
        "noise": NOISE_VERSION,
        "images": known.hexdigest()[:16],
    }


def content(image: Labelled) -> bytes:
    """The bytes of an image."""
    if image.pixels is not None:
        return np.ascontiguousarray(image.pixels).tobytes()
    try:
        return Path(image.source).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {image.source}: {error}") from error


def begin(
    out: Path, known: dict[str, Any], plan: Sequence[Sequence[Recipe]], overwrite: bool
) -> None:
    """Make the folder ready: new, to go on with, or emptied of what a former run wrote.

    Raises OutputError for a folder with other things in it.
    """
    stored = out / FACTS
    files = [recipe.path for own in plan for recipe in own]
    try:
        former = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else None
        if former is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} holds other things: give an empty or new folder")
        if former is not None and former["facts"] != known:
            if not overwrite:
                differ = [name for name in known if former["facts"].get(name) != known[name]]
                raise OutputError(
                    f"{out} was made with another {', '.join(differ)}: give --overwrite to replace "
                    "it, or another folder"
                )
            for name in [LABELS, *former["files"]]:
                (out / name).unlink(missing_ok=True)
        for folder in {out / Path(name).parent for name in files}:
            folder.mkdir(parents=True, exist_ok=True)
        put(stored, json.dumps({"facts": known, "files": files}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{out} cannot be used for synthetic images: {error}") from error


def provenance(
    request: AugmentRequest,
    model: Model,
    sampling: Sampling,
    images: Sequence[Labelled],
    recipe: Recipe,
) -> Provenance:
    """Where a synthetic image comes from."""
    names = [
        source_name(images[k].source) for k in (recipe.source, recipe.partner) if k is not None
    ]
    words = f"variation of {names[0]}"
    if recipe.partner is not None:
        words = f"between {names[0]} and {names[1]}, share {recipe.share:g} of the second"
    return Provenance(
        model=model.name,
        model_hash=model.hash,
        seed=recipe.seed,
        source=words,
        mode=MODE,
        steps=sampling.steps,
        guidance=sampling.guidance,
        noise_version=NOISE_VERSION,
        command=request.command,
        derived_from=tuple(names),
        credit=model.credit,
    )


def grid_of(image: Labelled, recipe: Recipe) -> PixelGrid:
    """The image's own grid; a mix lies between two places, so it has none."""
    if recipe.partner is None:
        return image.place or image.grid
    return PixelGrid(GeoBox(image.grid.window.shape, Affine.identity(), None), 0, 0)
