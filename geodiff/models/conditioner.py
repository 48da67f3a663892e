"""From embeddings to the tokens that an imported UNet attends to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from geodiff.models.files import tidy
from geodiff.models.parts import UNREADABLE, filled, parsed, unreadable
from geodiff.models.summarizer import Summarizer

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ConditionerSizes:
    """What config.json of a conditioner says. Raises ValueError for what no conditioner has."""

    kind: str  # patch: one token; pair: patch and region, two; summarizer: a grid and its scale
    dim: int  # length of an embedding
    width: int  # length of a token
    normalise: str = "l2"  # what happens to an embedding first: l2, zscore or none
    region: int = 0  # pair: length of the region's embedding, which is always zero
    cells: int = 64  # summarizer: tokens besides the scale's
    levels: int = 0  # summarizer: scales that it knows
    level: int = 0  # summarizer: the scale to paint at, each twice as coarse as the one before
    layers: int = 0  # summarizer
    heads: int = 8  # summarizer
    hidden: int = 0  # summarizer: length of its own tokens
    mlp: int = 0  # summarizer
    final_norm: bool = True  # summarizer: whether the tokens are normalised at the end

    def __post_init__(self) -> None:
        if self.kind not in ("patch", "pair", "summarizer"):
            raise ValueError(f"the conditioner is of the unknown kind {self.kind!r}")
        if self.normalise not in ("l2", "zscore", "none"):
            raise ValueError(f"the conditioner normalises in the unknown way {self.normalise!r}")
        if min(self.dim, self.width) < 1:
            raise ValueError(f"the conditioner has sizes {self.dim} and {self.width}: none fits")
        if self.kind == "summarizer":
            if not 0 <= self.level < self.levels:
                raise ValueError(
                    f"the conditioner has no scale {self.level}: it knows {self.levels}, from 0"
                )
            if min(self.layers, self.heads, self.hidden, self.mlp) < 1:
                raise ValueError("the conditioner is a summarizer without layers")
            if self.hidden % self.heads:
                raise ValueError(f"{self.heads} heads do not divide {self.hidden} channels")
        elif self.level:
            raise ValueError(f"a conditioner of the kind {self.kind} knows no scales")

    @property
    def tokens(self) -> int:
        """Tokens that it makes of a window's embeddings."""
        few = {"patch": 1, "pair": 2}
        return few.get(self.kind, self.cells + 1)

    @property
    def side(self) -> int:
        """Embeddings along one side of a window: as many as there are, if they find room."""
        return min(1 << self.level, isqrt(self.cells))


class LinearTokens(nn.Module):
    """One linear map of the window's embedding; for pairs another one of a region's, given as zero.

    Graikos et al. 2024 (arXiv:2312.07330) found that the region's embedding has no effect.
    """

    def __init__(self, sizes: ConditionerSizes) -> None:
        super().__init__()
        self.patch_fc = nn.Linear(sizes.dim, sizes.width)
        if sizes.kind == "pair":
            self.region_fc = nn.Linear(sizes.region, sizes.width)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """(batch, 1, dim) -> (batch, token, width)."""
        tokens = [self.patch_fc(grid)]
        if hasattr(self, "region_fc"):
            tokens.append(self.region_fc.bias.expand(len(grid), 1, -1))
        return torch.cat(tokens, dim=1)

    def null(self) -> torch.Tensor:
        """The tokens that stand for no embedding, (1, token, width): of a vector of zeros."""
        return self.forward(self.patch_fc.weight.new_zeros(1, 1, self.patch_fc.in_features))


@dataclass(frozen=True)
class Conditioner:
    """A network that makes tokens, with its sizes."""

    net: nn.Module
    sizes: ConditionerSizes

    @torch.no_grad()
    def tokens(self, grid: torch.Tensor | None) -> torch.Tensor:
        """float32 (batch, token, width) of embeddings (batch, side * side, dim), rows first.

        None: the tokens (1, token, width) that stand for no embedding.
        """
        net: Any = self.net
        if grid is None:
            null: torch.Tensor = net.null()
            return null
        made: torch.Tensor = net(normalised(grid.float(), self.sizes.normalise))
        return made

    @classmethod
    def load(cls, folder: Path) -> Conditioner:
        """Read what :func:`write_conditioner` wrote. Raises ModelError for what misfits."""
        try:
            facts = parsed(folder / "config.json")
            sizes = ConditionerSizes(**facts)
            net = filled(lambda: new_conditioner(sizes), folder / WEIGHTS)
        except (*UNREADABLE, AttributeError) as error:
            raise unreadable("conditioner", folder, error) from error
        return cls(net, sizes)


def write_conditioner(
    sizes: ConditionerSizes, tensors: dict[str, torch.Tensor], folder: Path
) -> None:
    """Write what :meth:`Conditioner.load` reads into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = json.dumps(asdict(sizes), indent=2)
    (folder / "config.json").write_text(facts + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    tidy(folder / WEIGHTS)


def new_conditioner(sizes: ConditionerSizes) -> nn.Module:
    """A fresh network of these sizes."""
    return Summarizer(sizes) if sizes.kind == "summarizer" else LinearTokens(sizes)


def normalised(vectors: torch.Tensor, way: str) -> torch.Tensor:
    """Embeddings (..., dim) as the network was given them: of length 1, or as z-scores."""
    if way == "l2":
        return nn.functional.normalize(vectors, dim=-1)
    if way == "zscore":
        spread = vectors.std(-1, keepdim=True) + 1e-8
        return (vectors - vectors.mean(-1, keepdim=True)) / spread
    return vectors
