"""`geodiff prepare`: rasters -> a training set."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.errors import STOPPED
from geodiff_cli.progress import Progress, draining

EXAMPLES = options.examples(
    "geodiff prepare naip/ --patch 256 --out datasets/naip",
    "geodiff prepare 'chips/*.jpg' --gsd 0.3 --res 0.6 --place '(.+)_.+' --out datasets/chips",
)


@click.command(epilog=EXAMPLES, short_help="Cut rasters into a training set.")
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "-o", "--out", "--output", "out", required=True, metavar="DIR",
    help="Folder to write pixels.npy and patches.parquet into.",
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
    "--split-table", metavar="CSV", help="Table with columns name and split (train, val), label."
)
@click.option(
    "--place", default="(.+)", show_default=True, metavar="REGEX",
    help="On file names without suffix: its first group names the place.",
)  # fmt: skip
@click.option(
    "--val-fraction", type=float, default=0.1, show_default=True, metavar="SHARE",
    help="Share of places, 0 to 1, set aside where no table says.",
)  # fmt: skip
@click.option("--exclude", metavar="REGEX", help="Leave out files of such names.  [default: none]")
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
    """Cut SOURCES (rasters, folders, patterns) into equal patches for training.

    Places, not patches, are divided between training and validation.
    """
    from geodiff.jobs.dataset import PatchSet
    from geodiff.jobs.prepare import PrepareConfig
    from geodiff.jobs.prepare import prepare as job

    config = PrepareConfig(**fields)
    ctx.meta[STOPPED] = f"{out} is not complete"
    with Progress(ctx, progress) as shown:
        shown.follow(draining(job(sources, out, config)))
        shown.done(path=out)
    patches = PatchSet.open(out)
    counts = {split: len(patches.split(split)) for split in ("train", "val")}
    if as_json:
        options.print_json({"path": out, "gsd": patches.gsd, **counts})
    elif not options.is_quiet(ctx):
        click.echo(
            f"{out}: {counts['train']} patches for training, {counts['val']} for validation, "
            f"{config.patch} px, {patches.gsd:.3g} m per pixel"
        )
