"""Embedding grids from nothing: a spatially correlated walk over an atlas of real embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save_file

from geodiff.diffusion.noise import plane
from geodiff.errors import ModelError, UsageError
from geodiff.models.files import tidy
from geodiff.models.parts import UNREADABLE, unreadable
from geodiff.models.prior_condition import Condition
from geodiff.window import Window

FEWEST = 8
"""Blocks of an atlas, at least."""

AXES = 4
"""Principal directions along which neighbouring blocks resemble each other."""


@dataclass(frozen=True)
class AtlasPrior:
    """Blocks of cells cut from real images, laid out so that neighbours are of a kind.

    ``blocks`` is float32 (n, block, block, feature) of unit vectors; ``places`` float32 (n, AXES)
    are the blocks' coordinates in the whitened principal components of their mean embeddings.
    ``reach`` is the correlation length of the walk in blocks, ``jitter`` the share of variance that
    is independent from block to block, ``choices`` how many nearest blocks a position draws from.
    """

    blocks: NDArray[np.float32]
    places: NDArray[np.float32]
    reach: float = 2.5
    jitter: float = 0.05
    choices: int = 6

    @property
    def block(self) -> int:
        """Cells along one side of a block."""
        return int(self.blocks.shape[1])

    @classmethod
    def fit(cls, blocks: NDArray[np.float32]) -> AtlasPrior:
        """Atlas of blocks (n, block, block, feature); raises ModelError for fewer than FEWEST."""
        if len(blocks) < FEWEST:
            raise ModelError(f"an atlas needs at least {FEWEST} blocks of cells, got {len(blocks)}")
        means = blocks.mean((1, 2))
        centred = means - means.mean(0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        along = centred @ directions[:AXES].T
        return cls(blocks, (along / (along.std(0) + 1e-9)).astype(np.float32))

    def walk(self, seed: int, window: Window) -> NDArray[np.float32]:
        """Coordinates (AXES, row, col) of the walk at the block positions of ``window``.

        A stationary Gaussian field of unit variance: counter-based noise smoothed with a Gaussian
        kernel of ``reach`` blocks, plus a white share. A pure function of seed and position.
        """
        radius = int(np.ceil(3 * self.reach))
        steps = np.arange(-radius, radius + 1)
        kernel = np.exp(-0.5 * (steps / self.reach) ** 2)
        kernel /= np.sqrt((kernel**2).sum())
        rough = plane(seed, window.pad(radius), AXES, "prior walk").astype(np.float64)
        rows = sum(weight * rough[:, i : i + window.height] for i, weight in enumerate(kernel))
        smooth = sum(weight * rows[:, :, i : i + window.width] for i, weight in enumerate(kernel))
        white = plane(seed, window, AXES, "prior jitter")
        mixed = np.sqrt(1 - self.jitter) * smooth + np.sqrt(self.jitter) * white
        field: NDArray[np.float32] = mixed.astype(np.float32)
        return field

    def choose(self, seed: int, window: Window) -> NDArray[np.intp]:
        """Which block of the atlas lies at each position of ``window`` (counted in blocks)."""
        walk = np.moveaxis(self.walk(seed, window), 0, -1)
        count = min(self.choices, len(self.places))
        # N(0, 1) falls between two neighbouring quantiles with one and the same probability.
        edges = [NormalDist().inv_cdf(rank / count) for rank in range(1, count)]
        ranks = np.searchsorted(edges, plane(seed, window, 1, "prior choice")[0])
        chosen = np.empty(window.shape, np.intp)
        for row in range(window.height):
            gap = ((walk[row][:, None] - self.places) ** 2).sum(-1)
            nearest = np.argsort(gap, axis=1, kind="stable")[:, :count]
            chosen[row] = nearest[np.arange(window.width), ranks[row]]
        return chosen

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.blocks.shape[-1])

    @property
    def text(self) -> str:
        """An atlas understands no sentence encoder."""
        return ""

    @property
    def text_mark(self) -> tuple[float, ...]:
        """So there is none to be known again."""
        return ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Nor any label."""
        return ()

    def check(self, condition: Condition | None) -> None:
        """Raises UsageError for any condition: an atlas follows none."""
        if condition is not None:
            raise UsageError(
                "the model's prior is an atlas, which understands neither words nor labels: leave "
                "them out, or give a --model whose prior does"
            )

    def sample(
        self, seed: int, cells: Window, condition: Condition | None = None, gsd: float = 0.6
    ) -> NDArray[np.float32]:
        """Unit vectors float32 (row, col, feature) for a window of the lattice of cells.

        A pure function of seed and cell position, whatever ``gsd``: overlapping windows agree to
        the bit. Raises UsageError for a condition.
        """
        self.check(condition)
        blocks = cells.zoom_out(self.block)
        chosen = self.choose(seed, blocks)
        laid = self.blocks[chosen].swapaxes(1, 2)  # (block row, cell row, block col, cell col, d)
        whole = laid.reshape(blocks.height * self.block, blocks.width * self.block, -1)
        rows, cols = cells.within(blocks.zoom_in(self.block))
        vectors = whole[rows, cols]
        normed: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return normed.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write prior.json and atlas.safetensors (half precision) into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "kind": "atlas", "reach": self.reach, "jitter": self.jitter, "choices": self.choices,
        }  # fmt: skip
        (folder / "prior.json").write_text(json.dumps(facts, indent=1))
        blocks: NDArray[Any] = self.blocks.astype(np.float16)
        save_file({"blocks": blocks, "places": self.places}, folder / "atlas.safetensors")
        tidy(folder / "atlas.safetensors")

    @classmethod
    def load(cls, folder: Path) -> AtlasPrior:
        """Read what :meth:`save` wrote. Raises ModelError where parts are missing or misfit."""
        try:
            facts = json.loads((folder / "prior.json").read_text())
            arrays = load((folder / "atlas.safetensors").read_bytes())
            if facts.pop("kind") != "atlas":
                raise ModelError(f"the prior in {folder} is of a kind this version does not know")
            blocks, places = arrays["blocks"].astype(np.float32), arrays["places"]
            if blocks.ndim != 4 or places.shape != (len(blocks), AXES):
                raise ValueError(f"blocks {blocks.shape} and places {places.shape} do not fit")
            return cls(blocks, places, **facts)
        except UNREADABLE as error:
            raise unreadable("prior", folder, error) from error
