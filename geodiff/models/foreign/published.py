"""The models that were published for this method, and what is known of them besides weights."""

from __future__ import annotations

from dataclasses import dataclass

from geodiff.errors import UsageError
from geodiff.models.conditioner import ConditionerSizes
from geodiff.models.foreign.project import Project


@dataclass(frozen=True)
class Published:
    """Facts that neither the tensors nor the configuration tell."""

    title: str
    gsd: float  # metres per pixel of the training images
    guidance: float  # scale that its authors paint large images with
    credit: str
    kind: str  # of its conditioner
    dim: int  # of its embeddings
    levels: int = 0  # scales that its conditioner knows
    dataset: tuple[str, ...] = ()  # texts in the training set's part of its configuration


GRAIKOS = "Graikos et al. 2024 (CVPR, arXiv:2312.07330)"
ZOOM = "Yellapragada et al. 2025 (CVPR, arXiv:2411.16969)"

KINDS = {
    "naip": Published(
        "NAIP, Chesapeake land cover", 1.0, 4.0, f"Weights: {GRAIKOS}. Imagery: USDA NAIP.",
        "patch", 768, dataset=("naip",),
    ),
    "brca-20x": Published(
        "TCGA-BRCA at 20x", 5e-7, 4.0, f"Weights: {GRAIKOS}. Slides: TCGA-BRCA.", "pair", 384,
        dataset=("brca",),
    ),
    "crc-20x": Published(
        "TCGA-CRC at 20x", 5e-7, 4.0, f"Weights: {GRAIKOS}. Slides: TCGA-COAD and TCGA-READ.",
        "patch", 768, dataset=("crc",),
    ),
    "brca-5x": Published(
        "TCGA-BRCA at 5x", 2e-6, 4.0, f"Weights: {GRAIKOS}. Slides: TCGA-BRCA.", "patch", 768,
        dataset=("brca", "5x"),
    ),
    "zoomldm-naip": Published(
        "ZoomLDM, NAIP", 1.0, 2.0, f"Weights: {ZOOM}. Imagery: USDA NAIP.", "summarizer", 1024,
        levels=4, dataset=("naip",),
    ),
    "zoomldm-brca": Published(
        "ZoomLDM, TCGA-BRCA", 5e-7, 2.0, f"Weights: {ZOOM}. Slides: TCGA-BRCA.", "summarizer",
        1024, levels=8, dataset=("tcga",),
    ),
}  # fmt: skip
"""By the names that `geodiff import --kind` takes."""

CELL = 256
"""Pixels of the square that one embedding describes, in all of them."""


def recognise(asked: str | None, sizes: ConditionerSizes, project: Project) -> str:
    """Which of ``KINDS`` a checkpoint is: as asked, by its configuration, or by its layout.

    Networks of other sizes go under the same names, as long as the conditioner is of that kind.
    Raises UsageError where that leaves several or none.
    """
    alike = [name for name, one in KINDS.items() if one.kind == sizes.kind]
    if asked is not None:
        if asked not in KINDS:
            raise UsageError(f"kind {asked!r} is unknown; choose {', '.join(KINDS)}")
        if asked not in alike:
            raise UsageError(
                f"the checkpoint is not of kind {asked}: its conditioner is a {sizes.kind}, as "
                f"that of {', '.join(alike)}"
            )
        return asked
    alike = [name for name in alike if KINDS[name].levels == sizes.levels] or alike
    named = [name for name in alike if project.dataset and fits(KINDS[name], project.dataset)]
    found = named or alike
    if len(found) != 1:
        raise UsageError(
            f"the checkpoint may be any of {', '.join(found)}: say which by --kind, or give its "
            "configuration by --config"
        )
    return found[0]


def fits(one: Published, dataset: str) -> bool:
    """Whether the configuration's training set is the model's."""
    return all(text in dataset.lower() for text in one.dataset)
