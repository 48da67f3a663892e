"""`geodiff embed`: a raster, or the images of a catalogue -> an embedding grid."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.params import BoxCommand
from geodiff_cli.progress import Progress
from geodiff_cli.stac_options import stac

EXAMPLES = options.examples(
    "geodiff embed photo.tif --out photo.embeddings.tif",
    "geodiff embed scene16.tif --bands 4,3,2 --scale 0,3000 --out scene.embeddings.tif",
)


@click.command(cls=BoxCommand, epilog=EXAMPLES, short_help="Write the embedding grid of a raster.")
@click.argument("source", required=False)
@options.out("Embedding grid to write (.tif, .zarr or .parquet).")
@options.model
@options.bbox
@options.bbox_crs
@options.crs("the raster's, else the UTM zone of the box")
@options.res("the raster's, else the model's")
@options.like
@options.bands
@options.scale
@options.gsd
@stac
@options.device
@options.overwrite
@options.reporting
@click.pass_context
def embed(ctx: click.Context, /, as_json: bool, progress: str, **fields: Any) -> None:
    """Write the embedding grid of the raster SOURCE, or of a --stac catalogue's images.

    One unit vector a cell.

    `geodiff synthesize --embeddings` paints from it, on this computer or another.
    """
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.embed import EmbedRequest, steps

        request = EmbedRequest(**fields)
        grid = shown.follow(steps(request))
        shown.done(path=request.out)
    options.print_grid(ctx, request.out, grid, as_json)
