"""`geodiff imagine`: a box -> an embedding grid from the model's prior."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.params import BoxCommand
from geodiff_cli.progress import Progress

EXAMPLES = options.examples(
    "geodiff imagine --bbox -117.76,34.09,-117.75,34.098 --seed 7 --out grid.parquet",
    "geodiff synthesize --embeddings grid.parquet --seed 7 --out mosaic.tif",
)


@click.command(cls=BoxCommand, epilog=EXAMPLES, short_help="Imagine the embedding grid of a box.")
@options.out("Embedding grid to write (.tif, .zarr or .parquet).")
@options.model
@options.bbox
@options.bbox_crs
@options.crs("the UTM zone of the box")
@options.res("the model's")
@options.like
@options.size
@options.gsd
@options.text
@options.polygons
@options.prompt_guidance
@click.option(
    "--seed", "--prompt-seed", "seed", type=int, default=0, show_default=True,
    help="Whole number from 0 to 2**63 - 1; it picks the layout.",
)  # fmt: skip
@click.option(
    "--margin", type=int, metavar="CELLS",
    help="Cells around the box.  [default: those that a mosaic of the box looks at]",
)  # fmt: skip
@options.overwrite
@options.reporting
@click.pass_context
def imagine(ctx: click.Context, /, as_json: bool, progress: str, **fields: Any) -> None:
    """Sample an embedding grid from the model's prior, by words or without, and paint nothing.

    `geodiff synthesize --embeddings` paints from it just what it paints for the same place and
    seed without a source; look at the grid, change it or mix it before.
    """
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.imagine import ImagineRequest, steps

        request = ImagineRequest(**fields)
        grid = shown.follow(steps(request))
        shown.done(path=request.out)
    options.print_grid(ctx, request.out, grid, as_json)
