"""Patches and an encoder -> the prior: an atlas of blocks of cells from the training split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from geodiff.errors import DataError
from geodiff.jobs.datasets.dataset import open_sets
from geodiff.jobs.training.config import PriorConfig
from geodiff.jobs.training.latents import embed_cells
from geodiff.models.bundle import choose_device
from geodiff.models.casting import cast
from geodiff.models.encoder import Encoder
from geodiff.models.prior import AtlasPrior
from geodiff.steps import Step


def train_prior(config: PriorConfig) -> Iterator[Step]:
    """Build the atlas, yielding progress; the finished part lies in ``<run>/prior``."""
    encoder = Encoder.load(Path(config.encoder))
    cast(encoder.net, device=choose_device(config.device))
    sets = open_sets(config.datasets, encoder.cell)
    rng = np.random.default_rng(config.seed)
    pool = [(s, row) for s in sets for row in s.split("train")]
    chosen = rng.choice(len(pool), size=min(config.blocks, len(pool)), replace=False)
    blocks = []
    for done, number in enumerate(sorted(chosen), start=1):
        patches, row = pool[number]
        pixels = torch.from_numpy(np.array(patches.pixels[row])).permute(2, 0, 1)[None]
        blocks.append(embed_cells(pixels, encoder)[0])
        if done % 50 == 0 or done == len(chosen):
            yield Step("train prior", done, len(chosen))
    shapes = {block.shape for block in blocks}
    if len(shapes) > 1:
        raise DataError(
            f"the datasets' patches hold different numbers of cells ({sorted(shapes)}): build the "
            "prior from datasets of one patch size"
        )
    AtlasPrior.fit(np.stack(blocks)).save(Path(config.run) / "prior")
