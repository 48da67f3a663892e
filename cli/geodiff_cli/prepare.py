"""`geodiff prepare`: rasters -> a training set."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.errors import STOPPED
from geodiff_cli.params import BBOX, BoxCommand
from geodiff_cli.progress import Progress
from geodiff_cli.stac_options import stac_any_href, stac_timeout

EXAMPLES = options.examples(
    "geodiff prepare naip/ --patch 256 --out datasets/naip",
    "geodiff prepare 'chips/*.jpg' --gsd 0.3 --res 0.6 --place '(.+)_.+' --out datasets/chips",
    "geodiff prepare --stac https://planetarycomputer.microsoft.com/api/stac/v1 \\",
    "    --collection naip --bbox -77.1,38.7,-77.0,38.8 --datetime 2022 --out datasets/dc",
)


@click.command(cls=BoxCommand, epilog=EXAMPLES, short_help="Cut rasters into a training set.")
@click.argument("sources", nargs=-1)
@click.option(
    "-o", "--out", "--output", "out", required=True, metavar="DIR",
    help="Folder to write pixels.npy, patches.parquet and contact.png into.",
)  # fmt: skip
@click.option(
    "--patch", type=int, default=256, show_default=True, metavar="PX", help="Pixels a side."
)
@click.option(
    "--stride", type=int, metavar="PX", help="Pixels between patches.  [default: --patch]"
)
@click.option("--gsd", type=float, metavar="M", help="Metres per pixel of sources without a CRS.")
@click.option(
    "--res", type=float, metavar="M", help="Resample to this many metres per pixel.  [default: no]"
)
@click.option(
    "--block", type=float, metavar="M",
    help="Places are blocks of this size on the lattice of the world.  "
    "[default: a file is a place; 2000 with --stac]",
)  # fmt: skip
@options.bands
@options.scale
@click.option(
    "--split-table", metavar="CSV", help="Table with columns name and split (train, val), label."
)
@click.option(
    "--labels", metavar="CSV",
    help="Table with columns path or name, label and perhaps label_id.  "
    "[default: labels.csv in a folder of SOURCES]",
)  # fmt: skip
@click.option(
    "--place", default="(.+)", show_default=True, metavar="REGEX",
    help="On file names without suffix: its first group names the place.",
)  # fmt: skip
@click.option(
    "--val-fraction", type=float, default=0.1, show_default=True, metavar="SHARE",
    help="Share of places, 0 to 1, set aside where no table says.",
)  # fmt: skip
@click.option("--exclude", metavar="REGEX", help="Leave out files of such names.  [default: none]")
@click.option("--keep-near", is_flag=True, help="Keep near duplicates; exact ones never are.")
@click.option(
    "--workers", type=int, default=1, show_default=True, metavar="N",
    help="Sources that are read at a time.",
)  # fmt: skip
@click.option("--stac", metavar="URL", help="Search this STAC API or catalogue, without SOURCES.")
@click.option("--collection", multiple=True, metavar="ID", help="Collection of the search; repeat.")
@click.option("--bbox", type=BBOX, help="West, south, east, north of the search, in degrees.")
@click.option("--datetime", metavar="A/B", help="Dates of the search: 2020, or 2018-01-01/2020-12.")
@click.option(
    "--asset", metavar="NAME",
    help="Asset of an item with the pixels, or RED,GREEN,BLUE.  [default: by bands and roles]",
)  # fmt: skip
@click.option("--max-items", type=int, metavar="N", help="Take at most so many items.")
@stac_timeout
@stac_any_href
@options.reporting
@click.pass_context
def prepare(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    out: str,
    as_json: bool,
    progress: str,
    **fields: Any,
) -> None:
    """Cut SOURCES (rasters, folders, patterns) or a STAC search into patches for training.

    Places, not patches, are divided between training and validation. Nodata and duplicates are left
    out. After a stop the same command goes on.
    """
    from geodiff.jobs.prepare import PrepareConfig
    from geodiff.jobs.prepare import prepare as job

    config = PrepareConfig(**fields)
    ctx.meta[STOPPED] = f"the same command goes on with what is in {out}"
    with Progress(ctx, progress) as shown:
        summary = shown.follow(job(sources, out, config))
        shown.done(path=out)
    if as_json:
        options.print_json(summary.as_dict())
    elif not options.is_quiet(ctx):
        click.echo(
            f"{out}: {summary.train} patches for training, {summary.val} for validation, "
            f"{config.patch} px, {summary.gsd:.3g} m per pixel"
        )
        kinds = {"nodata": "with nodata", "blank": "blank", "small": "sources without room for one"}
        left = [
            f"{count} {kinds.get(kind, kind if count == 1 else kind + 's')}"
            for kind, count in summary.skipped.items()
        ]
        click.echo(f"{summary.places} places; left out: {', '.join(left) or 'nothing'}")
        click.echo(f"a sample is in {summary.contact}")
        if not summary.val:
            click.echo(
                "nothing to validate with: give more places, a higher --val-fraction, smaller "
                "places with --block, or a --split-table"
            )
