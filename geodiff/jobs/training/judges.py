"""Networks that judge what a codec makes of images, beside the errors of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geodiff.jobs.training.config import CodecConfig
from geodiff.models.casting import cast
from geodiff.models.critic import Critic
from geodiff.models.encoder import Encoder
from geodiff.models.features import EmbeddingDistance, FeatureDistance


@dataclass(frozen=True)
class Judges:
    """The judges that a configuration gives a weight, and those weights."""

    config: CodecConfig
    feature: FeatureDistance | None = None
    embedding: EmbeddingDistance | None = None
    critic: Critic | None = None  # learns along

    @classmethod
    def of(cls, config: CodecConfig, device: torch.device) -> Judges:
        """Load them. Raises ModelError where weights are missing."""
        feature = FeatureDistance() if config.feature > 0 else None
        critic = Critic() if config.adversarial > 0 else None
        embedding = None
        if config.encoder is not None:
            embedding = EmbeddingDistance(Encoder.load(Path(config.encoder)))
        for judge in (feature, embedding, critic):
            if judge is not None:
                cast(judge, device=device)
        return cls(config, feature, embedding, critic)

    def beside(self, net: nn.Module) -> nn.Module:
        """What is trained: the codec, and the critic where there is one."""
        if self.critic is None:
            return net
        return nn.ModuleDict({"codec": net, "critic": self.critic})

    def __call__(
        self, made: torch.Tensor, real: torch.Tensor
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The weighted sum of what they say, with figures; images (batch, 3, row, col), -1..1."""
        total, figures = real.new_zeros(()), dict[str, Any]()
        for name in ("feature", "embedding"):
            judge = getattr(self, name)
            if judge is not None:
                distance = judge(made, real).float()
                total = total + getattr(self.config, name) * distance
                figures[name] = float(distance.detach())
        if self.critic is not None:
            maker, own = self.critic.losses(made, real)
            total = total + self.config.adversarial * maker + own
            figures |= {"adversarial": float(maker.detach()), "critic": float(own.detach())}
        return total, figures

    def idle(self) -> torch.Tensor:
        """0 for a rank without an image to judge: its critic has gradients to average, of 0."""
        total = torch.zeros(())
        for parameter in () if self.critic is None else self.critic.parameters():
            total = total + 0 * parameter.sum()
        return total
