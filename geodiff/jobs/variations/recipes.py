"""Which variations of labelled images are made: names, seeds and partners, before any pixel is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from geodiff.errors import DataError
from geodiff.jobs.variations.labelled import Labelled

FARTHEST = 0.5
"""Largest share of the partner in an interpolation: beyond, the other image would be the source."""

NEAREST = 0.2
"""Smallest share of the partner."""


@dataclass(frozen=True)
class Recipe:
    """One synthetic image: a pure function of the seed, its source's name and its number."""

    path: str  # of the file, from the output folder
    label: str
    kind: str  # variation (same embeddings, another seed) or mix (between two images of a class)
    source: int  # which image
    partner: int | None  # of a mix
    share: float  # of the partner, 0 for a variation
    seed: int  # of the noise


def recipes(images: Sequence[Labelled], count: int, mix: float, seed: int) -> list[list[Recipe]]:
    """``count`` recipes an image, of which the last ``mix`` (0..1, rounded) are interpolations.

    Partners have the same label and as many pixels. Raises DataError for a mix of images without
    labels, or where an image has no partner.
    """
    mixed = round(count * mix)
    groups: dict[tuple[str, tuple[int, int]], list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault((image.label, image.grid.window.shape), []).append(number)
    if mixed:
        check_groups(images, groups)
    found = []
    for number, image in enumerate(images):
        others = [k for k in groups[image.label, image.grid.window.shape] if k != number]
        own = []
        for k in range(count):
            chance = np.random.default_rng(digits(seed, image.name, k))
            is_mix = k >= count - mixed
            own.append(
                Recipe(
                    path=file_name(image, k, is_mix),
                    label=image.label,
                    kind="mix" if is_mix else "variation",
                    source=number,
                    partner=int(chance.choice(others)) if is_mix else None,
                    share=round(float(chance.uniform(NEAREST, FARTHEST)), 3) if is_mix else 0.0,
                    seed=digits(seed, image.name, k),
                )
            )
        found.append(own)
    return found


def check_groups(
    images: Sequence[Labelled], groups: dict[tuple[str, tuple[int, int]], list[int]]
) -> None:
    """Raises DataError where interpolations have no second image."""
    if all(not image.label for image in images):
        raise DataError(
            "--mix interpolates between images of one class, but none has a label: give --labels "
            "TABLE.csv, or leave out --mix"
        )
    for (label, (height, width)), members in groups.items():
        if len(members) < 2:
            name = f"the class {label}" if label else "the images without a label"
            raise DataError(
                f"{name} has one image of {height} x {width} px ({images[members[0]].name}), so "
                "--mix finds no second one: add images of that class and size, or leave out --mix"
            )


def digits(seed: int, name: str, number: int) -> int:
    """A seed of 63 bits that depends on these three alone."""
    digest = hashlib.blake2b(f"{seed}/{name}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def file_name(image: Labelled, number: int, mixed: bool) -> str:
    """``class/name_v003.tif``; without a label the name alone."""
    file = f"{plain(image.name)}_{'m' if mixed else 'v'}{number:03d}.tif"
    return f"{plain(image.label)}/{file}" if image.label else file


def plain(text: str) -> str:
    """A text as a part of a path, on every system."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "_"


def rows(plan: Sequence[Recipe], images: Sequence[Labelled]) -> list[dict[str, str]]:
    """What the table of labels says about each synthetic image."""
    found = []
    for recipe in plan:
        facts = asdict(recipe)
        partner = "" if recipe.partner is None else images[recipe.partner].source
        facts |= {"source": images[recipe.source].source, "partner": partner, "synthetic": 1}
        found.append({name: str(value) for name, value in facts.items()})
    return found
