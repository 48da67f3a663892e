"""Rows of an evaluation as tables of text, for the terminal and for a report."""

from __future__ import annotations

from collections.abc import Sequence

from geodiff.jobs.evaluate import Evaluation
from geodiff.jobs.measures.comparison import Verdict
from geodiff.jobs.measures.distances import Distances
from geodiff.jobs.measures.rows import Row

Table = list[dict[str, str]]


def tables(evaluation: Evaluation) -> dict[str, Table]:
    """Titles and tables of one evaluation; a table that would be empty is left out."""
    rows = evaluation.rows
    found = {
        "Patches: repainted from their own embeddings, each in one piece": [
            patch_row(row.source, figures) for row in rows for figures in row.patch
        ],
        "Large images: crops of mosaics beside windows painted alone": [
            large_row(row, number)
            for row in rows
            if row.large is not None
            for number in range(len(row.large.crops))
        ],
        "Detail, seams and codec": [detail_row(row) for row in rows if row.codec is not None],
        "Nearest of all training patches, in eight orientations": [
            memory_row(row) for row in rows if row.memory is not None
        ],
    }
    return {title: table for title, table in found.items() if table}


def patch_row(source: str, figures: Distances) -> dict[str, str]:
    """Similarity and distances of one source in one space."""
    few = " (too few)" if figures.few else ""
    return {
        "source": source,
        "distance": figures.title,
        "images": str(figures.images),
        "samples": f"{figures.samples}{few}",
        "similarity": spread(figures.similarity, figures.similarity_error),
        "shuffled": number(figures.shuffled),
        "synthetic": number(figures.frechet),
        "real floor": number(figures.frechet_floor),
        "by halves": spread(figures.frechet_halves, figures.frechet_spread),
        "floor by halves": spread(figures.floor_halves, figures.floor_spread),
        "kernel": spread(figures.kernel, figures.kernel_spread),
        "kernel floor": number(figures.kernel_floor),
    }


def large_row(row: Row, space: int) -> dict[str, str]:
    """Crops of mosaics of one source in one space."""
    assert row.large is not None
    crop, window = row.large.crops[space], row.large.windows[space]
    return {
        "source": row.source,
        "distance": crop.title,
        "megapixels": number(row.large.megapixels),
        "samples": str(crop.samples),
        "similarity": spread(crop.similarity, crop.similarity_error),
        "crops": number(crop.frechet),
        "windows alone": number(window.frechet),
        "crops / alone": number(row.large.ratios[space]),
        "real floor": number(crop.frechet_floor),
        "by halves": spread(crop.frechet_halves, crop.frechet_spread),
        "floor by halves": spread(crop.floor_halves, crop.floor_spread),
    }


def detail_row(row: Row) -> dict[str, str]:
    """Sharpness of one source, its seams and what the codec does to it."""
    assert row.codec is not None
    seams = row.large.seams if row.large else None
    return {
        "source": row.source,
        "detail": number(row.detail),
        "of mosaics": number(row.large.detail if row.large else None),
        "of codec": number(row.codec.detail),
        "mesh": number(row.mesh),
        "mesh of real": number(row.mesh_real),
        "mesh of codec": number(row.codec.mesh),
        "sharpness": number(row.sharpness),
        "seam peak (chance to 95 %)": (
            f"{seams.peak:.3f} ({seams.chance:.3f} to {seams.limit:.3f})" if seams else ""
        ),
        "of real": number(seams.real if seams else None),
        "codec PSNR dB": f"{row.codec.psnr:.2f}",
        "codec distance (EfficientNet-Lite0)": number(row.codec.distance),
        "codec similarity": number(row.codec.similarity),
    }


def memory_row(row: Row) -> dict[str, str]:
    """How near the synthetic patches of one source lie to training patches, and real ones."""
    memory = row.memory
    assert memory is not None
    return {
        "source": row.source,
        "training patches": f"{memory.training:,} ({memory.compared:,} of this size)",
        "cell": number(memory.cell),
        "real cell": number(memory.cell_real),
        "patch": number(memory.patch),
        "real patch": number(memory.patch_real),
        "largest": number(memory.patch_top),
        "largest of real": number(memory.patch_top_real),
        "nearer than real": "" if memory.nearer is None else f"{memory.nearer:.0%}",
    }


def verdict_rows(verdicts: Sequence[Verdict]) -> Table:
    """Both models side by side."""
    return [
        {
            "source": verdict.source,
            "figure": contrast.figure,
            "features": verdict.space,
            verdict.ours: number(contrast.ours),
            verdict.theirs: number(contrast.theirs),
            "difference": spread(contrast.difference, contrast.spread),
            "better": verdict.ours if contrast.better else verdict.theirs,
            "clear": "yes" if contrast.clear else "no",
        }
        for verdict in verdicts
        for contrast in verdict.contrasts
    ]


def text(table: Table) -> str:
    """A table in columns; the keys of the first row are its head."""
    head = list(table[0])
    widths = {name: max(len(name), *(len(row[name]) for row in table)) for name in head}
    lines = [{name: name for name in head}, *table]
    return "\n".join(
        "  ".join(row[name].ljust(widths[name]) for name in head).rstrip() for row in lines
    )


def number(value: float | None) -> str:
    """Four digits; empty for None."""
    return "" if value is None else f"{value:.4g}"


def spread(value: float | None, about: float | None) -> str:
    """A figure and its spread; either may be missing."""
    return number(value) if value is None or about is None else f"{value:.4g} ± {about:.2g}"
