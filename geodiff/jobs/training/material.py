"""What a diffusion prior learns from: embedded patches, sentences, labels and a whitening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodiff.errors import DataError
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.training.cells import CellSet
from geodiff.jobs.training.config import PriorConfig
from geodiff.jobs.training.prompts import Templates, number_texts, read_facts, write_texts
from geodiff.jobs.training.windows import check_sides
from geodiff.models.prior import FEWEST, AtlasPrior
from geodiff.models.text import TextEncoder
from geodiff.models.whitening import Whitening

FITTED = 20_000
"""Cells from which the whitening is taken."""


@dataclass(frozen=True, eq=False)
class Material:
    """What a diffusion prior learns from."""

    sets: list[CellSet]
    vectors: NDArray[np.float16]  # (n, text_dim) of all sentences
    labels: tuple[str, ...]
    whitening: Whitening
    atlas: AtlasPrior | None  # of the first set, if its patches are as large as a window
    text: str = ""  # name of the sentence encoder
    text_mark: tuple[float, ...] = ()  # what tells it from others


def gather(
    config: PriorConfig,
    patch_sets: tuple[PatchSet, ...],
    cells: list[tuple[NDArray[np.float16], NDArray[np.intp]]],
    sentences: TextEncoder | None,
) -> Material:
    """Cells and turns with the texts and labels of their patches. Raises DataError for misfits."""
    label_sets = [[label_of(value) for value in p.table["label"]] for p in patch_sets]
    labels = tuple(sorted({label for one in label_sets for label in one if label}))
    vectors, numbers = say(config, patch_sets, sentences)
    sets = [
        CellSet(
            cells=values,
            turns=turns,
            train=patches.split("train"),
            val=patches.split("val"),
            gsd=patches.gsd,
            texts=texts,
            labels=np.array([1 + labels.index(x) if x else 0 for x in named], np.intp),
        )
        for patches, (values, turns), texts, named in zip(
            patch_sets, cells, numbers, label_sets, strict=True
        )
    ]
    check_sides(sets, config.window, config.datasets)
    named = ("", ()) if sentences is None else (sentences.name, sentences.mark)
    white, atlas = whiten(sets, config), atlas_of(sets[0], config)
    return Material(sets, vectors, labels, white, atlas, *named)


def atlas_of(cells: CellSet, config: PriorConfig) -> AtlasPrior | None:
    """Upright blocks of the training split; None where none are wanted or a patch has no block."""
    if not config.blocks or cells.side < config.window or len(cells.train) < FEWEST:
        return None
    rng = np.random.default_rng(config.seed)
    count = min(config.blocks, len(cells.train))
    rows = np.sort(rng.choice(cells.train, size=count, replace=False))
    w = config.window
    return AtlasPrior.fit(cells.cells[rows, 0, :w, :w].astype(np.float32))


def label_of(value: object) -> str:
    """The label in a table's cell; "" for none."""
    return value if isinstance(value, str) else ""


def say(
    config: PriorConfig, patch_sets: tuple[PatchSet, ...], sentences: TextEncoder | None
) -> tuple[NDArray[np.float16], list[NDArray[np.intp]]]:
    """Sentences about all patches: their vectors, and which of them every patch has."""
    if sentences is None:
        return np.zeros((1, 1), np.float16), [
            np.full((len(p.pixels), config.wordings), -1, np.intp) for p in patch_sets
        ]
    templates, facts = Templates.read(config.prompts), read_facts(config.facts)
    texts = [
        write_texts(patches, templates, facts, config.wordings, config.seed + number)
        for number, patches in enumerate(patch_sets)
    ]
    table, numbers = number_texts(texts, config.wordings)
    if not table:
        raise DataError(
            "nothing is known about any patch: give datasets with labels, templates for their "
            'names (prompts), tables of facts, or text = ""'
        )
    vectors = sentences.embed(table)
    return vectors.astype(np.float16), numbers


def whiten(sets: list[CellSet], config: PriorConfig) -> Whitening:
    """The whitening of the training split, sets weighted as they are drawn."""
    rng = np.random.default_rng((config.seed, 1))
    weights = np.array(config.weights or np.sqrt([len(s.train) for s in sets]))
    share = np.round(FITTED * weights / weights.sum() / [s.side**2 for s in sets]).astype(int)
    parts = []
    for cells, count in zip(sets, share, strict=True):
        if count and len(cells.train):
            drawn = rng.choice(cells.train, size=count)
            turn = rng.integers(cells.cells.shape[1], size=count)
            parts.append(np.float32(cells.cells[drawn, turn]).reshape(-1, cells.cells.shape[-1]))
    return Whitening.fit(np.concatenate(parts))
