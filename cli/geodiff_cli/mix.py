"""`geodiff mix`: two embedding grids -> one between them."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.progress import Progress

EXAMPLES = options.examples(
    "geodiff mix town.parquet forest.parquet --weight 0.3 --out between.parquet",
)


@click.command(epilog=EXAMPLES, short_help="Mix two embedding grids.")
@click.argument("first")
@click.argument("second")
@options.out("Embedding grid to write (.tif, .zarr or .parquet).")
@click.option(
    "--weight", type=float, default=0.5, show_default=True, metavar="SHARE",
    help="Of SECOND, 0 to 1.",
)  # fmt: skip
@options.overwrite
@options.reporting
@click.pass_context
def mix(ctx: click.Context, /, as_json: bool, progress: str, **fields: Any) -> None:
    """Turn the vectors of the grid FIRST towards those of the grid SECOND.

    Both are of one encoder and one lattice; the result has the cells that both have, and a cell is
    valid where both are.
    """
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.mix import MixRequest, steps

        request = MixRequest(**fields)
        grid = shown.follow(steps(request))
        shown.done(path=request.out)
    options.print_grid(ctx, request.out, grid, as_json)
