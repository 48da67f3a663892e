"""Do neighbouring cells of a prior look like neighbours? Its grids beside real ones.

Run: python benchmarks/prior.py datasets/naip_ca --models shipped DIR ... --out results

Grids of --side x --side cells are sampled without words from the prior of every model ("shipped" is
the one of the package) at the data set's pixel size, one for each of --seeds, and compared with the
cells of real patches of the split val; rows "train" and "val" stand for the real patches of both
splits. The models must share one encoder. Every --text adds a row for each model, of grids that are
asked for these words (a label of the prior is asked for as that label) all over: such grids show
one kind of place, so their ``far`` is meant to lie above that of patches of all kinds.

- ``lag 1``, ``lag 2``: mean cosine of cells one and two columns or rows apart; ``far``: of cells
  far apart (of different patches). Real ones are the aim: less is noise, more is too smooth.
- ``across 4``, ``across 16``: lag 1 across lines of the lattice where blocks of an atlas and charts
  of a diffusion prior meet, over lag 1 elsewhere: 1 is no seam.
- ``cells``, ``pairs``, ``squares``: Fréchet distance of single cells, neighbouring pairs and 2 x 2
  cells to those of val, times 100; as many samples in each row, so that rows compare.
- ``nearest``: median over 2 x 2 cells of the mean cosine to the most similar ones of the split
  train at the same place; 1 is a copy, and val tells how near unseen real ones come.

Writes prior.md into --out, and keeps the embedded patches there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sheet import table

from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.measures.metrics import frechet_few
from geodiff.jobs.training.cells import encode_cells, open_cells
from geodiff.models.encoder import Encoder
from geodiff.models.prior_condition import Condition
from geodiff.models.priors import Prior, load_prior
from geodiff.models.shipped import shipped_path
from geodiff.models.text import TextEncoder
from geodiff.window import Window

Cells = NDArray[np.float32]  # (grid, row, col, feature)
Kind = Callable[[Cells], Cells]


def pairs(cells: Cells) -> Cells:
    """Neighbours in a row, side by side: (n, 2 features)."""
    both = np.concatenate([cells[:, :, :-1], cells[:, :, 1:]], -1)
    return both.reshape(-1, both.shape[-1])


def squares(cells: Cells) -> Cells:
    """2 x 2 cells: (n, 4 features)."""
    rows = [cells[:, i : cells.shape[1] - 1 + i] for i in (0, 1)]
    parts = [row[:, :, j : cells.shape[2] - 1 + j] for row in rows for j in (0, 1)]
    both = np.concatenate(parts, -1)
    return both.reshape(-1, both.shape[-1])


def single(cells: Cells) -> Cells:
    """Cells one by one: (n, features)."""
    return cells.reshape(-1, cells.shape[-1])


def lag(cells: Cells, steps: int) -> float:
    """Mean cosine of cells ``steps`` apart, along rows and columns."""
    across = (cells[:, :, steps:] * cells[:, :, :-steps]).sum(-1)
    down = (cells[:, steps:] * cells[:, :-steps]).sum(-1)
    return float((across.mean() + down.mean()) / 2)


def far(cells: Cells, rng: np.random.Generator) -> float:
    """Mean cosine of cells of different grids, or far apart in one."""
    flat = single(cells)
    one, two = rng.integers(len(flat), size=(2, 20_000))
    return float((flat[one] * flat[two]).sum(-1).mean())


def across(cells: Cells, period: int) -> float:
    """Lag 1 across lines at multiples of ``period``, over lag 1 elsewhere."""
    cosines = (cells[:, :, 1:] * cells[:, :, :-1]).sum(-1).mean((0, 1))
    lines = np.arange(1, cells.shape[2]) % period == 0
    return float(cosines[lines].mean() / cosines[~lines].mean())


def nearest(cells: Cells, known: Cells) -> float:
    """Median of the largest mean cosine of 2 x 2 cells to known ones."""
    asked, train = squares(cells), squares(known)
    found = np.concatenate([(part @ train.T).max(1) / 4 for part in np.array_split(asked, 16)])
    return float(np.median(found))


def some(samples: Cells, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``count`` samples."""
    chosen = rng.choice(len(samples), size=count, replace=False)
    return samples[chosen].astype(np.float64)


def figures(cells: Cells, train: Cells, val: Cells, lattice: bool) -> dict[str, str]:
    """A row of the table."""
    rng = np.random.default_rng(0)
    row = {
        "lag 1": f"{lag(cells, 1):.3f}",
        "lag 2": f"{lag(cells, 2):.3f}",
        "far": f"{far(cells, rng):.3f}",
        "across 4": f"{across(cells, 4):.2f}" if lattice else "",
        "across 16": f"{across(cells, 16):.2f}" if lattice else "",
    }
    for kind in (single, pairs, squares):
        real, made = kind(val), kind(cells)
        count = min(len(real), len(made), len(kind(train)))
        value = frechet_few(some(made, count, rng), real.astype(np.float64))
        row[{"single": "cells"}.get(kind.__name__, kind.__name__)] = f"{100 * value:.2f}"
    row["nearest"] = "" if cells is train else f"{nearest(cells, train):.3f}"
    return row


def sampled(
    prior: Prior, gsd: float, seeds: int, side: int, asked: Condition | None = None
) -> Cells:
    """Grids of one prior, without words or all over with those ``asked`` for."""
    window = Window(0, 0, side, side)
    return np.stack([prior.sample(seed, window, asked, gsd) for seed in range(seeds)])


def condition(prior: Prior, text: str) -> Condition | None:
    """What a prior is asked for by a text: a label of its own as such, else the words."""
    if not text:
        return None
    if text in prior.labels:
        return Condition.everywhere(label=text)
    return Condition.everywhere(TextEncoder.load(prior.text).embed([text])[0])


def real_cells(patches: PatchSet, encoder: Encoder, folder: Path) -> Cells:
    """Upright cells of all patches."""
    for step in encode_cells(patches, encoder, 1, folder):
        print(f"\r{step.stage} {step.done}/{step.total}", end="", flush=True)
    cells, _ = open_cells(patches, 1, folder, encoder.fingerprint)
    return np.asarray(cells[:, 0], np.float32)


def compare(
    patches: PatchSet,
    folders: Sequence[Path],
    seeds: int,
    side: int,
    out: Path,
    texts: Sequence[str] = (),
) -> list[dict[str, str]]:
    """The rows of all models, after those of the real patches."""
    encoders = [Encoder.load(folder / "encoder") for folder in folders]
    if len({encoder.fingerprint for encoder in encoders}) > 1:
        raise SystemExit("the models have different encoders, so their cells do not compare")
    cells = real_cells(patches, encoders[0], out / "cells")
    train, val = cells[patches.split("train")], cells[patches.split("val")]
    rows = [{"cells of": "train"} | figures(train, train, val, False)]
    rows.append({"cells of": "val"} | figures(val, train, val, False))
    for folder, text in product(folders, ("", *texts)):
        prior = load_prior(folder / "prior")
        asked = condition(prior, text)
        started = time.process_time()
        made = sampled(prior, patches.gsd, seeds, side, asked)
        seconds = (time.process_time() - started) / made[..., 0].size * 1000
        name = f"{folder.name}, {text}" if text else folder.name
        row = {"cells of": name} | figures(made, train, val, True)
        rows.append(row | {"ms a cell": f"{seconds:.2f}"})
    return rows


def main() -> None:
    """Print and write the table."""
    command = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    command.add_argument("dataset")
    command.add_argument("--models", nargs="+", default=["shipped"])
    command.add_argument("--seeds", type=int, default=4)
    command.add_argument("--side", type=int, default=48, help="cells along a side of a grid")
    command.add_argument("--text", action="append", default=[], help="words; may be repeated")
    command.add_argument("--out", type=Path, default=Path("prior"))
    given = command.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    folders = [shipped_path() if name == "shipped" else Path(name) for name in given.models]
    patches = PatchSet.open(given.dataset)
    rows = compare(patches, folders, given.seeds, given.side, given.out, given.text)
    text = table([{key: row.get(key, "") for key in rows[-1]} for row in rows])
    (given.out / "prior.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
