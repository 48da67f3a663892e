"""Does synthetic imagery help where labels are of large images? (b) bags of patches.

Run: python benchmarks/bags.py datasets/ucm30 --few 5 10 20 --seeds 5 --out results
     python benchmarks/bags.py datasets/ucm30 --few 5 10 --seeds 3 --sampler-steps 8 --out results

A bag stands for a large image: --size patches of a mixture of land uses, of which one or two are of
the land use that the bag is named after, the others of uses that say nothing. The label is of the
bag alone, as that of a slide in the paper's experiment; by default it is the kind of housing.
Features of patches are those of timm's EfficientNet-Lite0 with published weights, frozen; attention
over them (Ilse et al. 2018, arXiv:1802.04712, equation 9: gated) makes one vector of a bag.

A synthetic bag is a real one whose patches are all painted anew from their own embeddings. Three
networks see real bags, real and synthetic ones in equal parts, or synthetic ones alone, for the
same number of steps, with flips and quarter turns; all are tested on bags of the split val. Patches
of bags of one seed come once as long as their class lasts; those of smaller counts are among those
of larger ones. What is painted and what is tested is kept in --out, so that a stopped run goes on.
Patches lie in a bag without order: nothing here tests joints or arrangement between patches.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from arms import (
    ARMS,
    Floats,
    Painter,
    Pools,
    classifier,
    compare,
    frozen,
    in_order,
    parser,
    real,
)
from numpy.typing import NDArray
from torch import nn

from geodiff.jobs.variations.labelled import Labelled

HOUSING = ("denseresidential", "mediumresidential", "mobilehomepark", "sparseresidential")

TESTED = 50
"""Bags a label to test on."""


@dataclass(frozen=True, eq=False)
class Bags:
    """Rows (bag, patch) of a list of patches, and the numbers of the bags' labels."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]


def lay(
    images: Sequence[Labelled], keys: Sequence[str], count: int, size: int, seed: int
) -> tuple[list[Labelled], Bags]:
    """``count`` bags of each label of ``keys`` from ``images``, and the patches that they hold.

    The first bags of a label are the same for every count.
    """
    others = sorted({image.label for image in images} - set(keys))
    turns = {label: in_order(images, label, seed) for label in [*keys, *others]}
    taken = dict.fromkeys(turns, 0)

    def following(label: str) -> Labelled:
        taken[label] += 1
        return turns[label][(taken[label] - 1) % len(turns[label])]

    rng = np.random.default_rng((seed, 2))
    patches: list[Labelled] = []
    where: dict[str, int] = {}  # name -> row of the list
    rows, labels = [], []
    for _ in range(count):
        for number, key in enumerate(keys):
            told = int(rng.integers(1, 3))
            uses = [key] * told + list(rng.choice(others, size - told))
            bag = [following(use) for use in uses]
            for patch in bag:
                if where.setdefault(patch.name, len(patches)) == len(patches):
                    patches.append(patch)
            rows.append([where[patch.name] for patch in bag])
            labels.append(number)
    return patches, Bags(np.array(rows), np.array(labels))


class Attention(nn.Module):
    """Bags (bag, patch, feature) -> scores: gated attention over patches, then one layer."""

    def __init__(self, features: int, count: int, width: int = 128) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Dropout(0.25))
        self.value, self.gate = nn.Linear(width, 64), nn.Linear(width, 64)
        self.weigh, self.score = nn.Linear(64, 1), nn.Linear(width, count)

    def forward(self, bags: torch.Tensor) -> torch.Tensor:
        """Scores (bag, count)."""
        known = self.reduce(bags)
        gated = torch.tanh(self.value(known)) * torch.sigmoid(self.gate(known))
        weights = self.weigh(gated).softmax(1)
        scores: torch.Tensor = self.score((weights * known).sum(1))
        return scores


@dataclass(frozen=True, eq=False)
class Part:
    """Bags and the features (patch, version, turn, feature) of the patches that they name."""

    bags: Bags
    features: Floats

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """Features (bag, patch, feature) of ``count`` bags, each patch in some version and turn."""
        chosen = rng.integers(len(self.bags.rows), size=count)
        rows = self.bags.rows[chosen]
        versions, turns = (rng.integers(self.features.shape[k], size=rows.shape) for k in (1, 2))
        return self.features[rows, versions, turns], self.bags.labels[chosen]


def train(parts: Sequence[Part], count: int, steps: int, size: int, seed: int) -> nn.Module:
    """A network after ``steps`` batches of ``size`` bags, in equal shares from ``parts``."""
    torch.manual_seed(seed)
    net = Attention(parts[0].features.shape[-1], count).train()
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        drawn = [part.draw(size // len(parts), rng) for part in parts]
        bags, labels = (
            torch.from_numpy(np.concatenate(found)) for found in zip(*drawn, strict=True)
        )
        loss = nn.functional.cross_entropy(net(bags), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, part: Part) -> float:
    """Share of right answers on bags as they are."""
    scores = net(torch.from_numpy(part.features[part.bags.rows, 0, 0]))
    return float((scores.argmax(1).numpy() == part.bags.labels).mean())


class Experiment:
    """Both pools, and what is painted and measured of them, each once."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.painter = Painter.of(given, 0.0)
        self.pools = Pools.of(given.dataset)
        missing = set(given.keys) - set(self.pools.names)
        if missing or len(self.pools.names) == len(set(given.keys)):
            raise SystemExit(
                f"--keys {' '.join(given.keys)}: {given.dataset} has the labels "
                f"{' '.join(self.pools.names)}, some of which must be left over"
            )
        self.net = classifier(0)
        self.parts = cache(self._parts)
        patches, bags = lay(self.pools.held, given.keys, given.tested, given.size, 0)
        pixels = real(patches, given.side)
        self.held = Part(bags, frozen(self.net, pixels, 1)[:, None])

    def _parts(self, count: int, seed: int) -> tuple[Part, Part]:
        """Real bags and synthetic ones."""
        patches, bags = lay(self.pools.known, self.given.keys, count, self.given.size, seed)
        made = self.painter.variations(patches)
        features = frozen(self.net, made.reshape(-1, *made.shape[2:]))
        grouped = features.reshape(*made.shape[:2], *features.shape[1:])
        return (
            Part(bags, frozen(self.net, real(patches, self.given.side))[:, None]),
            Part(bags, grouped),
        )

    def run(self, count: int, seed: int, arm: str) -> float:
        """Accuracy of one arm on the held-out bags."""
        which = slice(*{ARMS[0]: (0, 1), ARMS[1]: (0, 2), ARMS[2]: (1, 2)}[arm])
        given, parts = self.given, self.parts(count, seed)[which]
        net = train(parts, len(given.keys), given.steps, given.batch, seed)
        return accuracy(net, self.held)


def main() -> None:
    """Paint and train what is missing, then print and write the table."""
    command = parser(__doc__ or "", [5, 10, 20], "bags")
    command.add_argument("--keys", nargs="+", default=list(HOUSING), help="labels of bags")
    command.add_argument("--size", type=int, default=8, help="patches a bag")
    command.add_argument("--tested", type=int, default=TESTED, help="bags a label to test on")
    command.add_argument("--steps", type=int, default=300, help="of training a network")
    command.add_argument("--batch", type=int, default=32)
    given = command.parse_args()
    experiment = Experiment(given)
    names = (
        "dataset", "per_image", "guidance", "sampler_steps", "side", "keys", "size", "tested",
        "steps", "batch",
    )  # fmt: skip
    model = experiment.painter.model
    settings = {"model": model.hash, **{name: getattr(given, name) for name in names}}
    table = compare(given, settings, "bags", experiment.run)
    about = (
        f"Model {model.name} {model.hash}; bags of {given.size} patches, one or two of them of "
        f"{', '.join(given.keys)}; tested on {len(experiment.held.bags.rows)} bags; chance is "
        f"{1 / len(given.keys):.2f}."
    )
    (given.out / "bags.md").write_text(f"{table}\n\n{about}\n", encoding="utf-8")
    print(f"{table}\n\n{about}")


if __name__ == "__main__":
    main()
