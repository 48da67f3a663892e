"""What both experiments with synthetic training images share: arms, painted images, the table."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from geodiff.jobs.variations.recipes import Recipe, recipes
from geodiff.models.bundle import Model
from geodiff.models.features import weights_path
from geodiff.models.torchvision_shim import ensure_torchvision

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Accuracies = dict[str, dict[str, float]]  # arm -> seed -> share of right answers

ARMS = ("real", "real and synthetic", "synthetic")


@dataclass(frozen=True, eq=False)
class Pools:
    """Labelled images that may be known (split train) and those to be tested on (split val)."""

    known: Sequence[Labelled]
    held: Sequence[Labelled]

    @property
    def names(self) -> list[str]:
        """All labels in order; a class is its number in it."""
        return sorted({image.label for image in self.known})

    @classmethod
    def of(cls, dataset: str) -> Pools:
        """Both splits of what `geodiff prepare` wrote, without labels that only one of them has."""
        known, held = (find_images([dataset], None, None, split) for split in ("train", "val"))
        both = {image.label for image in known} & {image.label for image in held} - {""}
        if len(both) < 2:
            raise SystemExit(f"{dataset} has fewer than two labels in both splits")
        return cls(*([image for image in part if image.label in both] for part in (known, held)))


def few(images: Sequence[Labelled], count: int, seed: int) -> list[Labelled]:
    """``count`` images of each class; those of a smaller count are among those of a larger one."""
    chosen = []
    for label in sorted({image.label for image in images}):
        chosen += in_order(images, label, seed)[:count]
    return sorted(chosen, key=lambda image: image.name)


def in_order(images: Sequence[Labelled], label: str, seed: int) -> list[Labelled]:
    """The images of one class, in the order of a seed."""
    own = [image for image in images if image.label == label]
    order = np.random.default_rng((seed, 1)).permutation(len(own))
    return [own[k] for k in order]


@dataclass(frozen=True, eq=False)
class Painter:
    """Variations of labelled images, kept in a folder: each image is painted once."""

    model: Model
    sampling: Sampling
    folder: Path
    per_image: int
    mix: float
    side: int

    @classmethod
    def of(cls, given: argparse.Namespace, mix: float) -> Painter:
        """As the command line says."""
        model = Model.load(given.model)
        sampling = Sampling.of("balanced", model, given.sampler_steps, given.guidance, 2)
        return cls(model, sampling, given.out / "painted", given.per_image, mix, given.side)

    def variations(self, images: Sequence[Labelled]) -> Image:
        """uint8 (image, variation, side, side, 3).

        Noise does not depend on which images are asked for, the partners of mixes do.
        """
        plan = recipes(images, self.per_image, self.mix, 0)
        self.folder.mkdir(parents=True, exist_ok=True)
        return np.stack([self.kept(images, own) for own in plan])

    def kept(self, images: Sequence[Labelled], own: Sequence[Recipe]) -> Image:
        """The variations of one image, painted if their file does not exist."""
        path = self.folder / f"{self.key(images, own)}.npz"
        if not path.exists():
            made = paint(self.model, self.sampling, images, own)
            stack = np.stack([resized(np.moveaxis(pixels, 0, -1), self.side) for pixels in made])
            temporary = path.with_suffix(".tmp.npz")
            np.savez_compressed(temporary, images=stack)
            temporary.replace(path)
        with np.load(path) as stored:
            found: Image = stored["images"]
        return found

    def key(self, images: Sequence[Labelled], own: Sequence[Recipe]) -> str:
        """A name that stands for everything that the pixels depend on."""
        facts = [self.model.hash, str(replace(self.sampling, batch=2)), str(self.side)]
        for recipe in own:
            facts += [recipe.kind, str(recipe.share), str(recipe.seed)]
            for number in (recipe.source, recipe.partner):
                pixels = b"" if number is None else np.array(images[number].pixels).tobytes()
                facts.append(hashlib.sha256(pixels).hexdigest())
        return hashlib.sha256(" ".join(facts).encode()).hexdigest()[:24]


def resized(image: Image, side: int) -> Image:
    """An image (row, col, 3) as a square of ``side`` pixels, averaged."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def real(images: Sequence[Labelled], side: int) -> Image:
    """Pixels of images, uint8 (n, side, side, 3)."""
    return np.stack([resized(np.array(image.pixels), side) for image in images])


def classifier(count: int) -> nn.Module:
    """EfficientNet-Lite0 with published weights and a fresh last layer of ``count`` classes."""
    ensure_torchvision()
    import timm

    net: nn.Module = timm.create_model("efficientnet_lite0")
    stored = torch.load(weights_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), stored.values(), strict=True)))
    net.reset_classifier(count)
    return net


def inputs(images: Image) -> torch.Tensor:
    """Images (n, row, col, 3) as the network wants them."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2) / 127.5 - 1


@torch.no_grad()
def frozen(net: nn.Module, images: Image, turns: int = 4) -> Floats:
    """Features (n, turn, 1280) of images (n, row, col, 3), by default in four orientations.

    ``net`` is a ``classifier`` of 0 classes.
    """
    net.eval()
    found = []
    for first in range(0, len(images), 32):
        batch = images[first : first + 32]
        turned = [inputs(np.stack([orient(image, k) for image in batch])) for k in range(turns)]
        found.append(np.stack([net(pixels).numpy() for pixels in turned], 1))
    return np.concatenate(found)


def parser(about: str, few_default: Sequence[int], out: str) -> argparse.ArgumentParser:
    """The command line of both."""
    made = argparse.ArgumentParser(description=about.split("\n")[0])
    made.add_argument("dataset")
    made.add_argument("--model")
    made.add_argument("--few", type=int, nargs="+", default=list(few_default))
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--per-image", type=int, default=4)
    made.add_argument("--guidance", type=float)
    made.add_argument("--sampler-steps", type=int)
    made.add_argument("--side", type=int, default=128, help="pixels that the classifier sees")
    made.add_argument("--out", type=Path, default=Path(out))
    return made


def opened(store: Path, known: Mapping[str, object]) -> dict[str, Accuracies]:
    """What an earlier run of the same settings found."""
    if not store.exists():
        return {}
    facts = json.loads(store.read_text())
    if facts["settings"] != known:
        raise SystemExit(f"{store} is of other settings: give another --out")
    results: dict[str, Accuracies] = facts["results"]
    return results


def compare(
    given: argparse.Namespace,
    settings: Mapping[str, object],
    what: str,
    run: Callable[[int, int, str], float],
) -> str:
    """The table: ``run(count, seed, arm)`` is called for what ``given.out`` does not hold yet.

    Written to ``<what>.json`` after every figure and to ``<what>.md``. Counts of earlier runs stay.
    """
    given.out.mkdir(parents=True, exist_ok=True)
    store = given.out / f"{what}.json"
    results = opened(store, settings)
    for count in given.few:
        found = results.setdefault(str(count), {arm: {} for arm in ARMS})
        for seed in range(given.seeds):
            for arm in ARMS:
                if str(seed) not in found[arm]:
                    found[arm][str(seed)] = run(count, seed, arm)
                    facts = {"settings": settings, "results": results}
                    store.write_text(json.dumps(facts, indent=1))
    ordered = sorted(results.items(), key=lambda pair: int(pair[0]))
    return table([shown(int(count), found) for count, found in ordered])


def shown(count: int, found: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """A row of the table; differences are of pairs with the same real images."""
    row = {"a class": str(count), "seeds": str(len(found["real"]))}
    for arm in ARMS:
        values = list(found[arm].values())
        row[arm] = f"{np.mean(values):.3f} ± {np.std(values):.3f}"
    pairs = [found[ARMS[1]][seed] - found["real"][seed] for seed in found["real"]]
    row["difference (second less first)"] = f"{np.mean(pairs):+.3f} ± {np.std(pairs):.3f}"
    return row
