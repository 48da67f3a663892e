"""Does synthetic imagery help a classifier that has few labelled images? (a) whole patches.

Run: python benchmarks/augmentation.py datasets/ucm30 --few 5 10 20 50 --seeds 5 --out results

DATASET is what `geodiff prepare` wrote, with labels. For each number of images a class and each
seed, that many patches of the split train are real; their variations (same
embeddings and other seeds, and interpolations inside the class) are synthetic, made from no other
image. Three classifiers of one kind (timm's EfficientNet-Lite0 with its published weights, all of
it trained on) see real patches, real and synthetic ones in equal parts of every batch, or synthetic
ones alone, for the same number of steps, with flips and quarter turns. All are tested on the split
val, which neither they nor the generative model have seen. What is painted and what is tested is
kept in --out, so that a stopped run goes on.

Read the column of differences: pairs over seeds (same real images), mean and standard deviation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sheet import table
from torch import nn

from geodiff.jobs.datasets.dataset import orient
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.variations.labelled import Labelled, find_images
from geodiff.jobs.variations.paint import paint
from geodiff.jobs.variations.recipes import recipes
from geodiff.models.bundle import Model
from geodiff.models.features import weights_path
from geodiff.models.torchvision_shim import ensure_torchvision

Image = NDArray[np.uint8]
Accuracies = dict[str, dict[str, float]]  # arm -> seed -> share of right answers

ARMS = ("real", "real and synthetic", "synthetic")


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (n, side, side, 3) with the numbers of their classes."""

    images: Image
    classes: NDArray[np.int64]


def few(images: Sequence[Labelled], count: int, seed: int) -> list[Labelled]:
    """``count`` images of each class; those of a smaller count are among those of a larger one."""
    chosen = []
    for label in sorted({image.label for image in images}):
        own = [image for image in images if image.label == label]
        order = np.random.default_rng((seed, 1)).permutation(len(own))
        chosen += [own[k] for k in order[:count]]
    return sorted(chosen, key=lambda image: image.name)


def synthetic(
    model: Model,
    sampling: Sampling,
    images: Sequence[Labelled],
    given: argparse.Namespace,
    seed: int,
) -> tuple[Image, list[str]]:
    """Variations of images, resized, with their labels."""
    made, labels = [], []
    for own in recipes(images, given.per_image, given.mix, seed):
        for recipe, pixels in zip(own, paint(model, sampling, images, own), strict=True):
            made.append(resized(np.moveaxis(pixels, 0, -1), given.side))
            labels.append(recipe.label)
    return np.stack(made), labels


def resized(image: Image, side: int) -> Image:
    """An image (row, col, 3) as a square of ``side`` pixels, averaged."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def batch_of(images: Sequence[Labelled], names: Sequence[str], side: int) -> Batch:
    """Real images."""
    stack = np.stack([resized(np.array(image.pixels), side) for image in images])
    return Batch(stack, np.array([names.index(image.label) for image in images]))


def classifier(count: int) -> nn.Module:
    """EfficientNet-Lite0 with published weights and a fresh last layer of ``count`` classes."""
    ensure_torchvision()
    import timm

    net: nn.Module = timm.create_model("efficientnet_lite0")
    stored = torch.load(weights_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), stored.values(), strict=True)))
    net.reset_classifier(count)
    return net


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


def inputs(images: Image) -> torch.Tensor:
    """Images (n, row, col, 3) as the network wants them."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2) / 127.5 - 1


def kept(path: Path, make: Sequence[object]) -> tuple[Image, list[str]]:
    """Synthetic images from ``path``, painted first where it does not exist."""
    if not path.exists():
        images, labels = synthetic(*make)  # type: ignore[arg-type]
        temporary = path.with_suffix(".tmp.npz")
        np.savez_compressed(temporary, images=images, labels=labels)
        temporary.replace(path)
    stored = np.load(path)
    return stored["images"], [str(label) for label in stored["labels"]]


def settings(given: argparse.Namespace, model: Model) -> dict[str, object]:
    """What figures depend on besides the number of images and the seed."""
    names = ("dataset", "per_image", "mix", "guidance", "sampler_steps", "side", "steps", "batch")
    return {"model": model.hash, **{name: getattr(given, name) for name in names}}


def opened(store: Path, known: Mapping[str, object]) -> dict[str, Accuracies]:
    """What an earlier run of the same settings found."""
    if not store.exists():
        return {}
    facts = json.loads(store.read_text())
    if facts["settings"] != known:
        raise SystemExit(f"{store} is of other settings: give another --out")
    results: dict[str, Accuracies] = facts["results"]
    return results


def shown(count: int, found: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """A row of the table."""
    row = {"images a class": str(count), "seeds": str(len(found["real"]))}
    for arm in ARMS:
        values = list(found[arm].values())
        row[arm] = f"{np.mean(values):.3f} ± {np.std(values):.3f}"
    pairs = [found[ARMS[1]][seed] - found["real"][seed] for seed in found["real"]]
    row["difference (second less first)"] = f"{np.mean(pairs):+.3f} ± {np.std(pairs):.3f}"
    return row


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--model")
    parser.add_argument("--few", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--per-image", type=int, default=4)
    parser.add_argument("--mix", type=float, default=0.25)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--sampler-steps", type=int)
    parser.add_argument("--side", type=int, default=128, help="pixels that the classifier sees")
    parser.add_argument("--steps", type=int, default=200, help="of training a classifier")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("augmentation"))
    return parser.parse_args()


def main() -> None:
    """Paint and train what is missing, then print and write the table."""
    given = arguments()
    model = Model.load(given.model)
    sampling = Sampling.of("balanced", model, given.sampler_steps, given.guidance, 2)
    pool, test = (find_images([given.dataset], None, None, split) for split in ("train", "val"))
    names = sorted({image.label for image in pool})
    held = batch_of([image for image in test if image.label in names], names, given.side)
    given.out.mkdir(parents=True, exist_ok=True)
    store = given.out / "augmentation.json"
    results = opened(store, settings(given, model))
    for count in given.few:
        found = results.setdefault(str(count), {arm: {} for arm in ARMS})
        for seed in range(given.seeds):
            images = few(pool, count, seed)
            path = given.out / f"synthetic-{model.hash}-{count}-{seed}.npz"
            pixels, labels = kept(path, (model, sampling, images, given, seed))
            real = batch_of(images, names, given.side)
            made = Batch(pixels, np.array([names.index(label) for label in labels]))
            for arm, parts in zip(ARMS, ([real], [real, made], [made]), strict=True):
                if str(seed) not in found[arm]:
                    net = train(parts, len(names), given.steps, given.batch, seed)
                    found[arm][str(seed)] = accuracy(net, held)
                    facts = {"settings": settings(given, model), "results": results}
                    store.write_text(json.dumps(facts, indent=1))
    text = table([shown(int(count), found) for count, found in results.items()])
    (given.out / "augmentation.md").write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nModel {model.name} {model.hash}; tested on {len(held.images)} patches.")


if __name__ == "__main__":
    main()
