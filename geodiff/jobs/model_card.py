"""The card of a model that is shared: what it is, whose it is, how it is run, what it is not."""

from __future__ import annotations

import json
import re

from geodiff.models.bundle import Model

LICENCES = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "gpl-3.0", "agpl-3.0", "openrail", "creativeml-openrail-m"),
)
"""Names of licences that the hub knows and that models of this kind have; all else is "other"."""


def card(model: Model, own: str, where: str | None) -> str:
    """Markdown with the hub's table in front; ``own`` is the card that the model came with.

    ``where`` is its name on the hub, if it came from there.
    """
    facts = model.facts()
    rows = {
        "embeddings": f"{model.dim} features for cells of {model.cell} px",
        "encoder": facts["encoder"] or "none: give embeddings (`--embeddings FILE`)",
        "prior": "yes" if model.prior_part else "none: give something to go by",
        "labels": facts["labels"],
        "codec": facts["codec"],
        "window": f"{facts['window_px']} px",
        "pixel size": f"{model.gsd:g} m, trained on {model.gsd_range[0]:g} to "
        f"{model.gsd_range[1]:g} m",
        "guidance": f"{model.guidance:g}",
        "weights": f"{model.parameters:,}",
        "hash": f"`{model.hash}`",
        "training imagery": model.credit,
        "licence of the weights": model.licence,
        "taken from": where,
    }
    table = [f"| {name} | {cell(value)} |" for name, value in rows.items() if value]
    source = "--reference photo.tif" if model.encoder_part else "--embeddings cells.tif"
    lines = [
        *front(model),
        f"# {model.name}",
        "",
        "A latent diffusion model for [geodiff](https://pypi.org/project/geodiff-mosaic/), which "
        "paints large seamless mosaics. **What it paints is synthetic**: no photograph, no "
        "evidence of any place or tissue.",
        "",
        "| | |",
        "|---|---|",
        *table,
        "",
        "```",
        f"geodiff synthesize --model hub:ORG/NAME@REVISION {source} --out mosaic.tif",
        "```",
        "",
        "`vae` and `unet` are in diffusers' layout. Latents are those of the `vae` less the mean, "
        "divided by the deviation in `vae/latents.json`.",
    ]
    if own.strip():
        lines += ["", "## The card it came with", "", deeper(without_front(own)).strip()]
    return "\n".join(lines) + "\n"


def front(model: Model) -> list[str]:
    """The table in front of a card that the hub reads, in YAML."""
    known = model.licence.lower()
    licence = [f"license: {known}"]
    if known not in LICENCES:
        licence = ["license: other", f"license_name: {json.dumps(model.licence)}"]
    tags = ("geodiff", "latent-diffusion", "synthetic", "large-images")
    return [
        "---", *licence, "library_name: diffusers", "pipeline_tag: unconditional-image-generation",
        "tags:", *(f"- {tag}" for tag in tags), "---", "",
    ]  # fmt: skip


def cell(value: object) -> str:
    """A fact as a cell of a table."""
    return " ".join(str(value).replace("|", "\\|").split())


def without_front(text: str) -> str:
    """A card without the table in front."""
    return re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)


def deeper(text: str) -> str:
    """Markdown whose headings, outside blocks of code, are two levels further down."""
    lines, inside = [], False
    for line in text.splitlines():
        inside ^= line.lstrip().startswith("```")
        heading = not inside and re.match(r"#{1,4} ", line)
        lines.append(f"##{line}" if heading else line)
    return "\n".join(lines)
