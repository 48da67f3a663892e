"""A last layer on frozen features of EfficientNet-Lite0, and how far images lie apart in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from arms import Floats
from numpy.typing import NDArray
from torch import nn

PENALTY = 1e-3
"""Of the squared weights of a last layer that is trained alone."""


@dataclass(frozen=True, eq=False)
class Known:
    """Features (n, turn, feature) of images with the numbers of their classes."""

    features: Floats
    classes: NDArray[np.int64]


def probe(parts: Sequence[Known], count: int, penalty: float = PENALTY) -> nn.Linear:
    """A last layer on frozen features: logistic regression in which every part weighs the same.

    Each image is seen in all its orientations.
    """
    turns = [part.features.shape[1] for part in parts]
    x = torch.from_numpy(np.concatenate([part.features.reshape(-1, 1280) for part in parts]))
    y = torch.from_numpy(
        np.concatenate([np.repeat(p.classes, n) for p, n in zip(parts, turns, strict=True)])
    )
    weight = torch.cat(
        [
            torch.full((len(p.classes) * n,), 1 / (len(parts) * len(p.classes) * n))
            for p, n in zip(parts, turns, strict=True)
        ]
    )
    layer = nn.Linear(1280, count)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    solver = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        each = nn.functional.cross_entropy(layer(x), y, reduction="none")
        total = (each * weight).sum() + penalty * layer.weight.square().sum()
        total.backward()
        return total

    solver.step(loss)  # type: ignore[arg-type]
    return layer


@torch.no_grad()
def right(layer: nn.Linear, known: Known) -> float:
    """Share of right answers on images as they are."""
    answers = layer(torch.from_numpy(known.features[:, 0])).argmax(1).numpy()
    return float((answers == known.classes).mean())


def apart(known: Known) -> float:
    """Root mean squared distance of two images of one class; every class has several."""
    groups = [known.features[known.classes == number, 0] for number in np.unique(known.classes)]
    return float(np.sqrt(2 * np.mean([own.var(0, ddof=1).sum() for own in groups])))


def siblings(known: Known, count: int) -> float:
    """The same of two variations of one image; ``count`` of them follow each other."""
    own = known.features[:, 0].reshape(-1, count, known.features.shape[2])
    return float(np.sqrt(2 * own.var(1, ddof=1).sum(-1).mean()))
