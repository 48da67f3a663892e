"""Does a mosaic show what its words ask for? A classifier of real patches names synthetic ones.

Run: python benchmarks/prompts.py datasets/ucm30 --model DIR --patches 6 --out results

For every label of the data set a prompt is read from prompts.csv beside this file (columns label
and text); no template of the training contains it, which is checked. For each, --patches patches of
the data set's size and pixel size are imagined by the model's prior and painted, and a last layer
on frozen features (EfficientNet-Lite0 with its published weights), trained on the real patches of
the split train in all orientations, names their class. A second one, on the cells' embeddings
alone, tells what is lost before anything is painted. --by label asks with labels instead of words.
With --squares CELLS the patches are the middles of squares of so many cells, side by side in one
plan of polygons that is painted as one mosaic.

Columns: ``real`` is the share of right answers on real patches of the split val, the ceiling;
``words`` that on synthetic ones; chance is one in as many as there are labels. Below the table
stands what is taken for what. Writes prompts.md, prompts.json and prompts.png into --out.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from arms import Floats, Image, Pools, classifier, frozen, real
from augmentation import Known, probe
from numpy.typing import NDArray
from sheet import side_by_side, table
from squares import asked_side_by_side

from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.measures.trials import paint_fields
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.jobs.training.cells import encode_cells, open_cells
from geodiff.jobs.training.latents import crop_fields
from geodiff.jobs.training.prompts import Templates
from geodiff.models.bundle import Model
from geodiff.models.prior_condition import Condition
from geodiff.models.text import TextEncoder
from geodiff.window import Window

PROMPTS = Path(__file__).with_name("prompts.csv")
APART = 2
"""Cells between the patches of one chart."""


@dataclass(frozen=True)
class Question:
    """A label, its prompt and what it asks a prior for."""

    label: str
    text: str
    condition: Condition


def read_prompts(path: Path) -> dict[str, str]:
    """The prompt of every label. Raises SystemExit where a template of the training contains it."""
    with path.open(newline="", encoding="utf-8") as file:
        prompts = {row["label"]: row["text"] for row in csv.DictReader(file)}
    own = Templates.read()
    known = {word.lower() for words in own.labels.values() for word in words}
    known |= {frame.format(word) for word in known for frame in own.frames}
    seen = [text for text in prompts.values() if text.lower() in known]
    if seen:
        raise SystemExit(f"the training has seen {', '.join(seen)}: ask in other words")
    return prompts


def questions(labels: Sequence[str], model: Model, by: str, guidance: float) -> list[Question]:
    """What to ask for every label, in words or by its name."""
    prompts = read_prompts(PROMPTS)
    if missing := set(labels) - set(prompts):
        raise SystemExit(f"{PROMPTS} has no prompt for {', '.join(sorted(missing))}")
    if by == "label":
        return [
            Question(label, label, Condition.everywhere(label=label, guidance=guidance))
            for label in labels
        ]
    vectors = TextEncoder.load(model.prior.text).embed([prompts[label] for label in labels])
    return [
        Question(label, prompts[label], Condition.everywhere(vector, guidance=guidance))
        for label, vector in zip(labels, vectors, strict=True)
    ]


def imagined(model: Model, asked: Question, count: int, side: int, gsd: float) -> Floats:
    """Cells of ``count`` patches with a ring around each: (count, side + 2, side + 2, feature).

    Four to a grid of one seed, apart from each other.
    """
    found: list[Floats] = []
    whole, step = side + 2, side + 2 + APART
    for seed in range(-(-count // 4)):
        window = Window(0, 0, step + whole, step + whole)
        grid = model.prior.sample(seed, window, asked.condition, gsd)
        for row, col in ((0, 0), (0, step), (step, 0), (step, step)):
            found.append(grid[row : row + whole, col : col + whole])
    return np.stack(found[:count])


def painted(model: Model, sampling: Sampling, cells: Floats, gsd: float) -> Image:
    """Patches (n, side, side, 3) from cells (n, row, col, feature) with a ring around them."""
    inner = cells.shape[1] - 2
    places = 1 + (np.arange(inner * model.cell // model.codec.factor) + 0.5) * (
        model.codec.factor / model.cell
    )
    rows = np.repeat(places[None], len(cells), 0)
    fields = crop_fields(cells, rows, rows)
    asked, seeds = np.ascontiguousarray(cells[:, 1:-1, 1:-1], np.float32), list(range(len(cells)))
    pairs = [slice(k, k + 2) for k in range(0, len(cells), 2)]
    made = [
        paint_fields(model, fields[k], sampling, gsd, seeds[k], "prompts", asked[k]) for k in pairs
    ]
    return np.moveaxis(np.concatenate(made), 1, -1)


def flat(cells: NDArray[np.floating]) -> Floats:
    """Cells (n, turn, row, col, feature) as features for a last layer, (n, turn, 1280)."""
    values = cells.reshape(*cells.shape[:2], -1).astype(np.float32)
    padded = np.zeros((*values.shape[:2], 1280), np.float32)
    padded[..., : values.shape[-1]] = values * 8  # entries of about unit variance
    return padded


def answers(layer: torch.nn.Linear, features: Floats) -> NDArray[np.int64]:
    """Numbers of the classes that a last layer names."""
    with torch.no_grad():
        named: NDArray[np.int64] = layer(torch.from_numpy(features[:, 0])).argmax(1).numpy()
    return named


@dataclass(frozen=True, eq=False)
class Judge:
    """Two last layers, of pixels and of cells, that know the real patches of the split train."""

    names: Sequence[str]
    net: torch.nn.Module
    pixels: torch.nn.Linear
    cells: torch.nn.Linear
    held: tuple[Floats, Floats]  # features of real patches of the split val
    classes: NDArray[np.int64]  # of those

    @classmethod
    def of(cls, dataset: str, model: Model, side: int, out: Path) -> Judge:
        """Trained on what `geodiff prepare` wrote."""
        pools, patches, net = Pools.of(dataset), PatchSet.open(dataset), classifier(0)
        for step in encode_cells(patches, model.encoder, 1, out / "cells"):
            print(f"\r{step.stage} {step.done}/{step.total}", end="", flush=True)
        cells, _ = open_cells(patches, 1, out / "cells", model.encoder.fingerprint)
        index = {name: row for row, name in enumerate(patches.table["name"])}
        found = []
        for images, turns in ((pools.known, 2), (pools.held, 1)):
            classes = np.array([pools.names.index(image.label) for image in images])
            rows = [index[image.name] for image in images]
            own = flat(np.asarray(cells[rows]))
            found.append((frozen(net, real(images, side), turns), own, classes))
        (features, own, classes), (held, held_cells, held_classes) = found
        count = len(pools.names)
        layers = (probe([Known(x, classes)], count) for x in (features, own))
        return cls(pools.names, net, *layers, (held, held_cells), held_classes)

    def right(self, number: int, named: NDArray[np.int64]) -> float:
        """Share of answers that are class ``number``."""
        return float((named == number).mean())

    def rows(self, made: Mapping[str, tuple[Image, Floats]], side: int) -> list[dict[str, str]]:
        """A row for every label, and the mean of all."""
        real_named = [answers(self.pixels, self.held[0]), answers(self.cells, self.held[1])]
        rows, totals = [], []
        for number, label in enumerate(self.names):
            if label not in made:
                continue
            images, cells = made[label]
            own = self.classes == number
            named = answers(self.pixels, frozen(self.net, shrunk(images, side), 1))
            in_cells = answers(self.cells, flat(cells[:, None, 1:-1, 1:-1]))
            figures = [
                self.right(number, real_named[0][own]), self.right(number, named),
                self.right(number, real_named[1][own]), self.right(number, in_cells),
            ]  # fmt: skip
            totals.append(figures)
            common = Counter(self.names[k] for k in named).most_common(2)
            shown = ", ".join(f"{name} {count}" for name, count in common)
            rows.append(row(label, figures) | {"taken for": shown})
        return [*rows, row("all", [float(x) for x in np.mean(totals, 0)]) | {"taken for": ""}]


def row(label: str, figures: Sequence[float]) -> dict[str, str]:
    """A row of the table."""
    names = ("real", "words", "real cells", "words, cells")
    return {"label": label} | {n: f"{f:.2f}" for n, f in zip(names, figures, strict=True)}


def shrunk(images: Image, side: int) -> Image:
    """Images (n, row, col, 3) at the size that the classifier sees."""
    from arms import resized

    return np.stack([resized(image, side) for image in images])


def main() -> None:
    """Ask, paint, name, and write the table."""
    command = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    command.add_argument("dataset")
    command.add_argument("--model")
    command.add_argument("--patches", type=int, default=6, help="a label")
    command.add_argument("--by", choices=("text", "label"), default="text")
    command.add_argument("--squares", type=int, metavar="CELLS", help="side, in one plan")
    command.add_argument("--prompt-guidance", type=float, default=3.0)
    command.add_argument("--sampler-steps", type=int)
    command.add_argument("--side", type=int, default=128, help="pixels that the classifier sees")
    command.add_argument("--out", type=Path, default=Path("prompts"))
    given = command.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    model, patches = Model.load(given.model), PatchSet.open(given.dataset)
    judge = Judge.of(given.dataset, model, given.side, given.out)
    sampling = Sampling.of("balanced", model, given.sampler_steps, None, 2)
    side = patches.pixels.shape[1] // model.cell
    wanted, made = questions(judge.names, model, given.by, given.prompt_guidance), {}
    if given.squares:
        made = asked_side_by_side(
            model, {asked.label: asked.text for asked in wanted}, given.patches, given.squares,
            side, patches.gsd, given.prompt_guidance, given.sampler_steps, given.out,
        )  # fmt: skip
    for asked in wanted if not given.squares else ():
        cells = imagined(model, asked, given.patches, side, patches.gsd)
        made[asked.label] = painted(model, sampling, cells, patches.gsd), cells
        print(f"\rpainted {asked.label}", end="", flush=True)
    rows = judge.rows(made, given.side)
    facts = {
        "model": model.hash, "dataset": given.dataset, "by": given.by, "patches": given.patches,
        "squares": given.squares, "guidance": given.prompt_guidance, "chance": 1 / len(made),
        "rows": rows,
    }  # fmt: skip
    (given.out / "prompts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    text = f"{table(rows)}\n\nChance is {1 / len(made):.3f}. Model {model.name} {model.hash}."
    (given.out / "prompts.md").write_text(text + "\n", encoding="utf-8")
    first = {label: np.moveaxis(images[0], -1, 0) for label, (images, _) in made.items()}
    side_by_side(given.out / "prompts.png", first, patches.pixels.shape[1], 7)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
