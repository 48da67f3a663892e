"""An evaluation -> one self-contained HTML file: tables, spectra, best and worst pictures."""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path

import numpy as np

from geodiff.errors import OutputError, UsageError
from geodiff.geo.writing import hidden
from geodiff.jobs.datasets.dataset import orient
from geodiff.jobs.evaluate import Evaluation, Outcome
from geodiff.jobs.measures import tabulate
from geodiff.jobs.measures.pictures import curves, figure, table
from geodiff.jobs.measures.rows import Measured

SHOWN = 4
"""Patches of each kind that are shown: best, worst, evenly spread."""

LARGEST = 1024
"""Pixels a side of a large image that are shown, from its top left corner."""

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: 3px 10px; text-align: left;
border-bottom: 1px solid #ddd } .row { display: flex; gap: 6px; flex-wrap: wrap; font-size: 12px }
figure { margin: 1em 0 } figcaption { color: #555 } img { max-width: 100%; height: auto }
"""

NOTES = (
    "Similarity is the cosine of the features of a synthetic patch and of the real one whose "
    "embeddings it goes by; shuffled is the control, pairs of different places. A Fréchet distance "
    "is called FID only with the standard Inception network. It grows as samples get fewer, so "
    "compare only equal sample counts: the floor is that of as many real patches of other places. "
    "By halves, a half of the images is compared with the other half of the real ones, ten times; "
    "± is the standard deviation (of similarities the standard error over images). The kernel "
    "distance (KID's formula) has no such bias. In the model's own encoder figures compare models "
    "that share it only. Nearest training patches are looked up by that encoder; a copy that is "
    "shifted against its cells is not found."
)


def check_report(path: str) -> None:
    """Raises UsageError or OutputError for a report that cannot be written there."""
    target = report_file(path)
    folder = target.parent
    if Path(path).suffix.lower() in (".html", ".htm"):
        if not folder.is_dir():
            raise OutputError(f"the folder {folder} of the report does not exist: make it first")
    elif Path(path).is_file() or Path(path).suffix.lower() in (".png", ".json", ".pdf"):
        raise UsageError(f"--report {path} is no folder and does not end in .html")


def report_file(path: str) -> Path:
    """The HTML file: ``path`` itself, or report.html in the folder ``path``."""
    given = Path(path)
    return given if given.suffix.lower() in (".html", ".htm") else given / "report.html"


def write_report(outcome: Outcome, path: str) -> Path:
    """Write the report, into a folder also report.json, and return its path.

    Replaces what was there. Raises OutputError where it cannot be written; then nothing is left
    half-written.
    """
    target = report_file(path)
    files = {target: page(outcome)}
    if target != Path(path):
        facts = json.dumps(outcome.as_dict(), indent=1, allow_nan=False)
        files[target.with_name("report.json")] = facts
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            temporary = hidden(file, "report", file.suffix)
            try:
                temporary.write_text(text, encoding="utf-8")
                os.replace(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the report {target}: {error}") from error
    return target


def page(outcome: Outcome) -> str:
    """The whole HTML page."""
    ours = outcome.ours
    parts = [f"<h1>{escape(ours.model)}</h1>", f"<p>{escape(settings(ours))}</p>"]
    if outcome.verdicts:
        parts += ["<h2>Against another model</h2>", f"<p>{escape(outcome.verdicts[0].words)}</p>"]
        parts.append(table(tabulate.verdict_rows(outcome.verdicts)))
    for title, rows in tabulate.tables(ours).items():
        parts += [f"<h2>{escape(title)}</h2>", table(rows)]
    parts.append(f"<p>{escape(NOTES)}</p>")
    lines = {part.row.source: part.row.spectrum for part in ours.parts}
    parts.append("<h2>Spectrum</h2>")
    axes = ("cycles a pixel", "Power of synthetic over real patches, logarithm to base 10")
    parts.append(curves(lines, 0.5, axes))
    for number, part in enumerate(ours.parts):
        other = None if outcome.theirs is None else outcome.theirs.parts[number]
        parts += [f"<h2>{escape(part.row.source)}</h2>", *pictures(part, other, ours)]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>geodiff evaluate</title>"
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def settings(evaluation: Evaluation) -> str:
    """How everything was painted."""
    return (
        f"Mode {evaluation.mode}, {evaluation.steps} solver steps, guidance "
        f"{evaluation.guidance:g}, seed {evaluation.seed}. Everything called synthetic is."
    )


def pictures(part: Measured, other: Measured | None, evaluation: Evaluation) -> list[str]:
    """Figures of one source: best, worst, evenly spread, nearest to training, and large images."""
    trial, each = part.trial, np.array(part.row.patch[0].each)
    order = np.argsort(-each, kind="stable")
    count = min(SHOWN, len(order))
    even = np.linspace(0, len(order) - 1, count).astype(int)
    found = []
    for title, chosen in (
        ("Highest similarity", order[:count]),
        ("Lowest similarity", order[::-1][:count]),
        ("Evenly spread", even),
    ):
        found.append(f"<h3>{title}</h3>")
        for k in chosen:
            images = [("real", trial.real[k]), ("codec", trial.decoded[k])]
            images.append(("synthetic", trial.made[k]))
            if other is not None:
                images.append(("the other model", other.trial.made[k]))
            found.append(figure(images, f"patch {k}, similarity {each[k]:.3f}"))
    memory = part.row.memory
    if memory is not None and memory.closest:
        found.append("<h3>Nearest to training</h3>")
        for near in memory.closest:
            patches = evaluation.training[near.training].patches
            turned = orient(np.moveaxis(trial.made[near.patch], 0, -1), near.turn)
            pair = [
                ("synthetic, turned", np.ascontiguousarray(np.moveaxis(turned, -1, 0))),
                ("training", np.moveaxis(np.array(patches.pixels[near.row]), -1, 0)),
            ]
            name = f"{patches.path.name}, patch {near.row}"
            found.append(figure(pair, f"cosine {near.similarity:.3f} to {name}"))
    for k, (scene, mosaic) in enumerate(zip(trial.scenes, trial.mosaics, strict=True)):
        cut = np.s_[:, :LARGEST, :LARGEST]
        images = [("real", scene.real[cut]), ("synthetic", mosaic[cut])]
        if other is not None:
            images.append(("the other model", other.trial.mosaics[k][cut]))
        found += [f"<h3>{escape(scene.name)}</h3>", figure(images, "mosaic", width=512)]
    return found
