"""Does synthetic imagery help a classifier that has few labelled images? (a) whole patches.

Run: python benchmarks/augmentation.py datasets/ucm30 --few 5 10 20 50 --seeds 5 --out results
     python benchmarks/augmentation.py datasets/ucm30 --few 5 10 --frozen --mix 0 --recognised

DATASET is what `geodiff prepare` wrote, with labels. For each number of images a class and each
seed, that many patches of the split train are real; their variations (same embeddings and other
seeds, and with --mix interpolations inside the class) are synthetic, made from no other image.
Three classifiers of one kind (timm's EfficientNet-Lite0 with its published weights, all of it
trained on; with --frozen its last layer alone) see real patches, real and synthetic ones in equal
parts, or synthetic ones alone, for the same number of steps, with flips and quarter turns. All are
tested on the split val, which neither they nor the generative model have seen. With --recognised
only those synthetic patches count that a last layer trained on the same real ones takes for their
class: whoever has few labels can do that too. What is painted and what is tested is kept in --out,
so that a stopped run goes on; bags.py takes from there what it needs as well.

Read the column of differences: pairs over seeds (same real images), mean and standard deviation.
Below the table stands what explains it: how often synthetic patches still show their class, and how
much the variations of one image differ.
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
    Image,
    Painter,
    Pools,
    classifier,
    compare,
    few,
    frozen,
    inputs,
    parser,
    real,
)
from numpy.typing import NDArray
from probe import Known, apart, probe, right, siblings
from torch import nn

from geodiff.jobs.datasets.dataset import orient


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (n, side, side, 3) with the numbers of their classes."""

    images: Image
    classes: NDArray[np.int64]


def train(parts: Sequence[Batch], count: int, steps: int, size: int, seed: int) -> nn.Module:
    """A classifier after ``steps`` batches, drawn in equal shares from ``parts``."""
    torch.manual_seed(seed)
    net = classifier(count).train()
    optimiser = torch.optim.AdamW(net.parameters(), 5e-4, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-4, total_steps=steps)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        images, classes = [], []
        for part in parts:
            for k in rng.integers(len(part.images), size=size // len(parts)):
                images.append(orient(part.images[k], int(rng.integers(8))))
                classes.append(part.classes[k])
        scores = net(inputs(np.stack(images)))
        loss = nn.functional.cross_entropy(scores, torch.tensor(classes), label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, batch: Batch) -> float:
    """Share of right answers."""
    found = [
        net(inputs(batch.images[k : k + 32])).argmax(1) for k in range(0, len(batch.images), 32)
    ]
    return float((torch.cat(found).numpy() == batch.classes).mean())


class Experiment:
    """Both pools, and what is painted and measured of them, each once."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.painter = Painter.of(given, given.mix)
        self.pools = Pools.of(given.dataset)
        self.names = self.pools.names
        self.net = classifier(0)
        self.made = cache(self._made)
        self.images = cache(self._images)
        self.features = cache(self._features)

    def numbers(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Labels as numbers."""
        return np.array([self.names.index(label) for label in labels])

    def _made(self, count: int, seed: int) -> tuple[Batch, Batch]:
        """Real images and all of their variations."""
        chosen = few(self.pools.known, count, seed)
        classes = self.numbers([image.label for image in chosen])
        made = self.painter.variations(chosen)
        flat = made.reshape(-1, *made.shape[2:])
        return (
            Batch(real(chosen, self.given.side), classes),
            Batch(flat, np.repeat(classes, made.shape[1])),
        )

    def _images(self, count: int, seed: int) -> tuple[Batch, Batch]:
        """Real images and those of their variations that count."""
        one, two = self.made(count, seed)
        if not self.given.recognised:
            return one, two
        layer = probe([Known(frozen(self.net, one.images), one.classes)], len(self.names))
        seen = torch.from_numpy(frozen(self.net, two.images, 1)[:, 0])
        kept = layer(seen).argmax(1).numpy() == two.classes
        if not kept.any():
            raise SystemExit(f"none of {len(kept)} synthetic patches shows its class: nothing left")
        return one, Batch(two.images[kept], two.classes[kept])

    def _features(self, count: int, seed: int) -> tuple[Known, Known]:
        """Frozen features of both."""
        one, two = (
            Known(frozen(self.net, batch.images), batch.classes)
            for batch in self.images(count, seed)
        )
        return one, two

    def whole(self, split: str, turns: int) -> Known:
        """Frozen features of a whole split."""
        images = self.pools.known if split == "train" else self.pools.held
        pixels = real(images, self.given.side)
        classes = self.numbers([image.label for image in images])
        return Known(frozen(self.net, pixels, turns), classes)

    def run(self, count: int, seed: int, arm: str) -> float:
        """Accuracy of one arm on the held-out patches."""
        which = slice(*{ARMS[0]: (0, 1), ARMS[1]: (0, 2), ARMS[2]: (1, 2)}[arm])
        if self.given.frozen:
            return right(probe(self.features(count, seed)[which], len(self.names)), self.held)
        given, parts = self.given, self.images(count, seed)[which]
        net = train(parts, len(self.names), given.steps, given.batch, seed)
        pixels = real(self.pools.held, given.side)
        classes = self.numbers([image.label for image in self.pools.held])
        return accuracy(net, Batch(pixels, classes))

    @property
    def held(self) -> Known:
        """Features of what is tested on."""
        if not hasattr(self, "_held"):
            self._held = self.whole("val", 1)
        return self._held

    def reasons(self) -> str:
        """What explains the table, of the largest count and the first seed."""
        one, two = (
            Known(frozen(self.net, batch.images, 1), batch.classes)
            for batch in self.made(max(self.given.few), 0)
        )
        layer = probe([self.whole("train", 1)], len(self.names))
        said = (
            f"A last layer trained on all {len(self.pools.known)} real patches is right on "
            f"{right(layer, self.held):.3f} of the held-out ones and on {right(layer, two):.3f} of "
            "the synthetic ones."
        )
        if max(self.given.few) < 2 or self.given.per_image < 2:
            return said
        between = apart(one)
        return (
            f"{said} In features, synthetic patches of one class lie {apart(two) / between:.2f} "
            "times as far from each other as the real ones that they go by, variations of one "
            f"image {siblings(two, self.given.per_image) / between:.2f} times."
        )


def settings(given: argparse.Namespace, painter: Painter) -> dict[str, object]:
    """What figures depend on besides the number of images and the seed."""
    names = ["dataset", "per_image", "mix", "guidance", "sampler_steps", "side", "frozen"]
    names += [] if given.frozen else ["steps", "batch"]
    names += ["recognised"] if given.recognised else []
    return {"model": painter.model.hash, **{name: getattr(given, name) for name in names}}


def main() -> None:
    """Paint and train what is missing, then print and write the table."""
    command = parser(__doc__ or "", [5, 10, 20, 50], "augmentation")
    command.add_argument("--mix", type=float, default=0.25, help="share of interpolations")
    command.add_argument("--frozen", action="store_true", help="train the last layer alone")
    command.add_argument(
        "--recognised", action="store_true", help="only synthetic patches that show their class"
    )
    command.add_argument("--steps", type=int, default=200, help="of training a classifier")
    command.add_argument("--batch", type=int, default=32)
    given = command.parse_args()
    experiment = Experiment(given)
    what = "augmentation-recognised" if given.recognised else "augmentation"
    table = compare(given, settings(given, experiment.painter), what, experiment.run)
    model = experiment.painter.model
    about = (
        f"Model {model.name} {model.hash}; {len(experiment.names)} classes, tested on "
        f"{len(experiment.pools.held)} patches. {experiment.reasons()}"
    )
    (given.out / f"{what}.md").write_text(f"{table}\n\n{about}\n", encoding="utf-8")
    print(f"{table}\n\n{about}")


if __name__ == "__main__":
    main()
