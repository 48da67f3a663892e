"""Options of a mosaic that contradict each other, or that would do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiff.errors import UsageError

if TYPE_CHECKING:
    from geodiff.jobs.request import SynthesizeRequest


def check_source(request: SynthesizeRequest) -> None:
    """Raises UsageError for more than one source, and for words that make no sense."""
    named = {
        "--reference": request.reference,
        "--embeddings": None if request.embeddings is None else request.embeddings_name,
        "--text": None if request.text is None else f'"{request.text[:40]}"',
        "--layout-file": None if request.layout_file is None else request.layout_name,
        "--stac": request.stac,
        "--collection": (" ".join(request.collection) or None) if request.stac is None else None,
    }
    given = [f"{option} {value}" for option, value in named.items() if value is not None]
    if len(given) > 1:
        both = "both" if len(given) == 2 else "all"
        raise UsageError(
            f"{' and '.join(given)} are {both} given: a mosaic goes by one source, leave "
            f"{('one', 'two', 'three', 'four')[len(given) - 2]} out"
        )
    if request.prompt_guidance is not None and request.text is None and request.layout_file is None:
        raise UsageError(
            f"--prompt-guidance {request.prompt_guidance:g} tells how strictly to follow words: "
            "give --text or --layout-file, or leave it out"
        )
    request.prompt, request.drawing, request.catalogue  # noqa: B018  (refuses what makes no sense)


def check_charts(request: SynthesizeRequest) -> None:
    """Raises UsageError for charts and workers that make no sense."""
    if request.chart is not None and (request.chart < 128 or request.chart % 128):
        raise UsageError(f"--chart {request.chart} must be a multiple of 128 pixels, at least 128")
    if request.workers < 0:
        raise UsageError(f"--workers {request.workers} must be 0 or more")
    if request.workers and request.scheduler:
        raise UsageError(
            f"--workers {request.workers} starts a cluster of its own and --scheduler "
            f"{request.scheduler} names a running one: give one of them"
        )
    if request.layout == "single" and (request.workers or request.scheduler):
        raise UsageError(
            "--layout single is one canvas, which no cluster can share: use --layout world"
        )
    if request.layout == "single" and request.chart is not None:
        raise UsageError(
            f"--layout single is one canvas, so --chart {request.chart} would do nothing: leave "
            "it out, or use --layout world"
        )


def check_box_options(box: object, box_crs: str | None, gsd: float | None) -> None:
    """Raises UsageError for options of a box without one, and for a gsd of a box that has it."""
    if box_crs is not None and box is None:
        raise UsageError(f"--bbox-crs {box_crs} describes a box: give --bbox W,S,E,N")
    if gsd is not None and box is not None:
        raise UsageError(
            f"--gsd {gsd:g} is for a raster without CRS, the grid of a --bbox has one: leave it out"
        )


def check_size(request: SynthesizeRequest) -> None:
    """Raises UsageError for a size beside what lies on a map."""
    if request.size is None:
        return
    for option, given in (
        ("--bbox", request.bbox),
        ("--like", request.like),
        ("--layout-file", request.layout_file),
        ("--stac and --collection", request.catalogue),
    ):
        if given is not None:
            width, height = request.size
            raise UsageError(
                f"--size {width}x{height} makes an image without a CRS, {option} tells where it "
                "lies: give one of them"
            )
