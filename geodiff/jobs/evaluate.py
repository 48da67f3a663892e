"""Held-out imagery and a model, or two -> figures of quality for every source of imagery."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from geodiff.errors import ModelError, UsageError
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.measures.comparison import Verdict, compare, judge
from geodiff.jobs.measures.distances import Space, open_space
from geodiff.jobs.measures.memorisation import Training, embed_training
from geodiff.jobs.measures.quilts import Scene
from geodiff.jobs.measures.rows import Measured, Row, measure, pooled
from geodiff.jobs.measures.trials import (
    Trial,
    check_patches,
    chosen_rows,
    patch_trial,
    reference_scene,
    scene_trial,
)
from geodiff.jobs.mosaic import values
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.models.bundle import Model
from geodiff.models.features import weights_path
from geodiff.models.spaces import NAMES
from geodiff.steps import Step

MODE = "balanced"
"""The mode in which everything is painted: the default of `geodiff synthesize`."""

PACKAGED = "shipped"
"""Stands for the package's own model where a model directory is asked for."""


@dataclass(frozen=True)
class EvaluateRequest:
    """What a model is measured on. Raises UsageError for what makes no sense."""

    datasets: tuple[str, ...] = ()  # folders of `geodiff prepare`
    references: tuple[str, ...] = ()  # rasters, for places and styles that no data set holds
    model: str | None = None  # a model directory; None or shipped: the package's own
    against: str | None = None  # another one to compare with, or shipped
    limit: int = 200  # patches of a source at most
    megapixels: float = 1.05  # of large images a source; 0 paints none
    features: tuple[str, ...] = ()  # spaces; none: the encoder, and EfficientNet where installed
    weights: tuple[tuple[str, str], ...] = ()  # (space, file) of networks that need a file
    seed: int = 0
    steps: int | None = None  # solver steps; None: the mode's
    guidance: float | None = None  # None: the model's
    device: str = "auto"

    def __post_init__(self) -> None:
        values.settle(self, {"seed": values.seed, "limit": values.whole})
        if not (self.datasets or self.references):
            raise UsageError("nothing to measure on: give a data set or --reference FILE")
        if self.limit < 2:
            raise UsageError(f"--limit {self.limit} must be at least 2 patches")
        if not 0 <= self.megapixels < 1e6:
            raise UsageError(f"--megapixels {self.megapixels:g} must be 0 or more")
        if self.references and not self.megapixels:
            raise UsageError("--megapixels 0 leaves nothing of a --reference: give some")
        for name in (*self.features, *(name for name, _ in self.weights)):
            if name not in NAMES:
                raise UsageError(f"features {name} are unknown; choose {', '.join(NAMES)}")
        for name, path in self.weights:
            if name not in self.features:
                raise UsageError(f"--weights {name}={path} is not used: give --features {name}")

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the spaces; always the encoder's first."""
        names = self.features or ("encoder", *(("efficientnet-lite0",) if has_lite0() else ()))
        return tuple(dict.fromkeys(("encoder", *names)))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All rows of one model."""

    model: str  # name and hash
    mode: str
    steps: int
    guidance: float
    seed: int
    parts: tuple[Measured, ...]
    training: tuple[Training, ...]
    all: Row | None  # of several data sets together

    @property
    def rows(self) -> tuple[Row, ...]:
        """One a source, and that of all data sets."""
        own = tuple(part.row for part in self.parts)
        return own if self.all is None else (*own, self.all)

    @property
    def main(self) -> Row:
        """The row that a model is judged by: all held-out patches, else the first source."""
        return self.all or self.parts[0].row

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures; the main ones of the main row stand at the top as well."""
        return {
            "model": self.model,
            "mode": self.mode,
            "steps": self.steps,
            "guidance": self.guidance,
            "seed": self.seed,
            **summary(self.main),
            "rows": [row.as_dict() for row in self.rows],
        }


@dataclass(frozen=True, eq=False)
class Outcome:
    """The evaluation of a model, and with ``against`` that of the other and the verdicts.

    The first verdict is the main row's, the one by which a model may take the other's place.
    """

    ours: Evaluation
    theirs: Evaluation | None = None
    verdicts: tuple[Verdict, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        facts = self.ours.as_dict()
        if self.theirs is not None:
            facts["against"] = self.theirs.as_dict()
            facts["verdicts"] = [verdict.as_dict() for verdict in self.verdicts]
        return facts


def evaluate(request: EvaluateRequest) -> Generator[Step, None, Outcome]:
    """Run everything; the generator's value is the outcome.

    Everything that can be refused is looked at before anything is painted. Raises DataError for
    data sets and rasters that do not do, ModelError for models and weights, UsageError for two
    models that are the same.
    """
    yield Step("load", 0, 1)
    sets = [PatchSet.open(path) for path in request.datasets]
    for patches in sets:
        chosen_rows(patches, request.limit)
    model = load(request.model, request.device)
    other = None if request.against is None else load(request.against, request.device)
    if other is not None and other.hash == model.hash:
        raise UsageError(
            f"--against {request.against} is {other.name} {other.hash}, the model that it would be "
            "compared with: give --model or another --against"
        )
    for patches in sets:
        for judged in (model, *(() if other is None else (other,))):
            check_patches(judged, patches)
    spaces = [open_space(name, model, dict(request.weights).get(name)) for name in request.spaces]
    space = "encoder"
    if other is not None and other.encoder.fingerprint != model.encoder.fingerprint:
        space = judge(request.spaces)
    scenes = [
        [reference_scene(judged, path, request.megapixels) for path in request.references]
        for judged in (model, *(() if other is None else (other,)))
    ]
    yield Step("load", 1, 1)
    training = yield from embed_training(sets, model)
    ours = yield from evaluate_model(request, model, sets, scenes[0], spaces, training)
    if other is None:
        return Outcome(ours)
    own = [open_space("encoder", other, None), *spaces[1:]]
    if other.encoder.fingerprint != model.encoder.fingerprint:
        training = yield from embed_training(sets, other)
    theirs = yield from evaluate_model(request, other, sets, scenes[1], own, training)
    pairs = [(ours.main, theirs.main)]
    pairs += [pair for pair in zip(ours.rows, theirs.rows, strict=True) if pair[0] is not ours.main]
    names = ours.model, theirs.model
    return Outcome(ours, theirs, tuple(compare(*names, *pair, space) for pair in pairs))


def load(name: str | None, device: str) -> Model:
    """A model directory; None or ``shipped`` is the package's own."""
    return Model.load(None if name == PACKAGED else name, device)


def evaluate_model(
    request: EvaluateRequest,
    model: Model,
    sets: Sequence[PatchSet],
    scenes: Sequence[Scene],
    spaces: Sequence[Space],
    training: Sequence[Training],
) -> Generator[Step, None, Evaluation]:
    """All rows of one model; the generator's value."""
    sampling = Sampling.of(MODE, model, request.steps, request.guidance, 8)
    parts: list[Measured] = []
    limit, seed, megapixels = request.limit, request.seed, request.megapixels
    trial: Trial
    for patches in sets:
        trial = yield from patch_trial(model, patches, sampling, limit, seed, megapixels)
        parts.append((yield from measure(model, trial, spaces, sampling, training)))
    for scene in scenes:
        trial = yield from scene_trial(model, scene, sampling, limit, seed)
        parts.append((yield from measure(model, trial, spaces, sampling, training)))
    known = parts[: len(sets)]
    return Evaluation(
        model=f"{model.name} {model.hash}",
        mode=MODE,
        steps=sampling.steps,
        guidance=sampling.guidance,
        seed=seed,
        parts=tuple(parts),
        training=tuple(training),
        all=pooled(spaces, known) if len(known) > 1 else None,
    )


def summary(row: Row) -> dict[str, Any]:
    """The main figures of a row, in the space of the model's own encoder."""
    own, codec, memory = row.patch[0], row.codec, row.memory
    return {
        "source": row.source,
        "patches": row.patches,
        "cells": own.samples,
        "similarity": own.similarity,
        "similarity_codec": codec.similarity if codec else None,
        "similarity_shuffled": own.shuffled,
        "frechet": own.frechet,
        "frechet_floor": own.frechet_floor,
        "kernel": own.kernel,
        "kernel_spread": own.kernel_spread,
        "kernel_floor": own.kernel_floor,
        "nearest_train": memory.cell if memory else None,
        "nearest_train_floor": memory.cell_real if memory else None,
        "codec_psnr": codec.psnr if codec else None,
        "sharpness": row.sharpness,
        "detail": row.detail,
        "detail_codec": codec.detail if codec else None,
        "mesh": row.mesh,
        "mesh_real": row.mesh_real,
    }


def has_lite0() -> bool:
    """Whether the weights of EfficientNet-Lite0 are installed."""
    try:
        weights_path()
    except ModelError:
        return False
    return True
