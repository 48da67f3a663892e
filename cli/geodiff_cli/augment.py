"""`geodiff augment`: labelled images -> synthetic variations of them."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.errors import STOPPED
from geodiff_cli.lazy import command_line
from geodiff_cli.progress import Progress

EXAMPLES = options.examples(
    "geodiff augment chips/ --labels chips/labels.csv --gsd 0.3 --per-image 4 --out synthetic",
    "geodiff augment datasets/naip --per-image 2 --mix 0.5 --seed 1 --out synthetic",
)


@click.command(epilog=EXAMPLES, short_help="Make synthetic variations of labelled images.")
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "-o", "--out", "--output", "out", required=True, metavar="DIR",
    help="Folder to write: a GeoTIFF an image, in a folder a class, and labels.csv.",
)  # fmt: skip
@click.option(
    "--per-image", type=int, default=4, show_default=True, metavar="N",
    help="Synthetic images an image.",
)  # fmt: skip
@click.option(
    "--mix", type=float, default=0.0, show_default=True, metavar="SHARE",
    help="Share of them, 0 to 1, that lie between the embeddings of two images of one class.",
)  # fmt: skip
@click.option(
    "--labels", metavar="CSV",
    help="Table with the columns label and path or name.  [default: a folder's labels.csv]",
)  # fmt: skip
@click.option(
    "--split", type=click.Choice(("train", "val")), default="train", show_default=True,
    help="Of a prepared data set.",
)  # fmt: skip
@click.option("--skip-small", is_flag=True, help="Leave out images smaller than a window.")
@options.gsd
@options.model
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that varies.")
@click.option("--steps", type=int, metavar="N", help="Solver steps.  [default: the mode's]")
@click.option("--guidance", type=float, metavar="SCALE", help="[default: the model's]")
@options.device
@options.overwrite
@options.reporting
@click.pass_context
def augment(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    out: str,
    as_json: bool,
    progress: str,
    **fields: Any,
) -> None:
    """Paint SOURCES (images, folders, patterns, or data sets of `geodiff prepare`) anew.

    Variations keep the embeddings of an image and change the noise; with --mix some lie between two
    images of one class. Labels go along, and so does the place of a variation. A stopped run goes
    on with the same command.
    """
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.augment import AugmentRequest
        from geodiff.jobs.augment import augment as job

        request = AugmentRequest(sources, out, command=command_line(ctx), **fields)
        ctx.meta[STOPPED] = f"{out} is not complete; the same command goes on with it"
        result = shown.follow(job(request))
        shown.done(path=result.path)
    if as_json:
        options.print_json(result.as_dict())
    elif not options.is_quiet(ctx):
        noun = "class" if result.classes == 1 else "classes"
        classes = f" in {result.classes} {noun}" if result.classes else ""
        click.echo(
            f"{result.path}: {result.made} synthetic images of {result.images} real ones{classes}"
        )
