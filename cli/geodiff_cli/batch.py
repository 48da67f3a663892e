"""`geodiff batch`: a STAC search or a file of cells -> a catalogue of mosaics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from geodiff.errors import GeodiffError
from geodiff.jobs.batches.request import ON_ERROR, WAYS
from geodiff.jobs.request import FILLS
from geodiff_cli import options, painting_options
from geodiff_cli.errors import PARTLY, STOPPED
from geodiff_cli.lazy import command_line
from geodiff_cli.params import BBOX, BoxCommand
from geodiff_cli.progress import Progress
from geodiff_cli.stac_options import stac
from geodiff_cli.synthesize import duration, room

if TYPE_CHECKING:
    from geodiff.jobs.batch import BatchPlan, BatchResult

SHOWN = 20
"""Failures that the summary names; report.json has them all."""

EXAMPLES = options.examples(
    "geodiff batch --stac planetary-computer --datetime 2020 --bbox -117.80,34.05,-117.60,34.20 \\",
    "    --out-dir twins --dry-run",
    "geodiff batch --stac http://127.0.0.1:7822 --collection naip --cells cells.gpkg \\",
    "    --out-dir twins --workers 4",
)

SHARING = re.compile(r" --(?:workers|scheduler)(?:=| )\S+")
"""Words of a command line about who makes the units, which is no part of their provenance."""


@click.command(cls=BoxCommand, epilog=EXAMPLES, short_help="Write a catalogue of mosaics.")
@click.option(
    "-o", "--out-dir", required=True, metavar="DIR",
    help="Folder of the STAC collection to write, or an address such as s3://bucket/folder.",
)  # fmt: skip
@stac
@click.option(
    "--bbox", type=BBOX,
    help="West, south, east, north of the search in degrees; twins are cut at it, cells chosen.",
)  # fmt: skip
@click.option("--items", metavar="FILE", help="JSON file of STAC items instead of a search.")
@click.option("--cells", metavar="FILE", help="Vector file: a mosaic of each polygon's bounds.")
@click.option("--layer", metavar="NAME", help="Layer of --cells, where it has several.")
@click.option(
    "--cell-id", metavar="NAME", help="Attribute of --cells that names them.  [default: numbers]"
)
@click.option(
    "--by", type=click.Choice(WAYS), help="What a unit is.  [default: cell with --cells, else item]"
)
@click.option(
    "--variants", type=int, default=1, show_default=True, metavar="K", help="Seeds a unit."
)
@options.model
@click.option(
    "--crs", "--dst-crs", "crs", metavar="CRS",
    help="CRS of the mosaics.  [default: the item's or the cells', else the UTM zone]",
)  # fmt: skip
@click.option(
    "--res", type=float, metavar="SIZE",
    help="Pixel size in units of the CRS.  [default: the item's, else the model's]",
)  # fmt: skip
@options.bands
@options.scale
@click.option(
    "--fill", type=click.Choice(FILLS),
    help="Where the source has no data: its nearest cell, or stop.  [default: nearest]",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True,
    help="Of the first variant; the seeds of the others follow from it.",
)  # fmt: skip
@painting_options.sampling
@click.option(
    "--chart", type=int, metavar="PX",
    help="Side of a chart; another side gives other mosaics.  [default: 2048]",
)  # fmt: skip
@options.device
@painting_options.precision
@painting_options.cog
@click.option(
    "--workers", type=int, default=0, metavar="N",
    help="Make N units at a time in processes of this machine.  [default: in this one]",
)  # fmt: skip
@click.option(
    "--scheduler", metavar="ADDRESS",
    help="Make units on a running Dask cluster, such as tcp://host:8786.",
)  # fmt: skip
@click.option(
    "--retries", type=int, default=2, show_default=True, metavar="N",
    help="Further attempts at a unit that fails, each after a longer wait.",
)  # fmt: skip
@click.option(
    "--on-error", type=click.Choice(ON_ERROR), default="skip", show_default=True,
    help="Go on without a unit that fails, or stop at the first.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Make units anew that another request made.")
@click.option(
    "--recheck", is_flag=True,
    help="Read all files that are there again, also those unchanged since they were found whole.",
)  # fmt: skip
@click.option(
    "--name", metavar="ID", help="Id of the collection.  [default: the name of --out-dir]"
)
@click.option("--vrt", is_flag=True, help="Write a virtual raster over all mosaics as well.")
@click.option(
    "--publish", metavar="URL", help="STAC API with transactions that takes the items at the end."
)
@click.option(
    "--public-url", metavar="URL",
    help="Where others find --out-dir, for --publish.  [default: --out-dir, if it is an address]",
)  # fmt: skip
@click.option(
    "--work-dir", metavar="DIR",
    help="Local folder to paint in for an address.  [default: in the temporary folder]",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print units, work and time; write nothing.")
@options.reporting
@click.pass_context
def batch(
    ctx: click.Context, /, dry_run: bool, as_json: bool, progress: str, **fields: Any
) -> None:
    """Write a synthetic twin of each item of a --stac search, or a mosaic of each of --cells.

    Each becomes a COG with a STAC item in a static collection. The same command goes on where a run
    was stopped, and makes what is missing. Exit code 3: finished, but some units failed; for
    --dry-run, nothing can be made.
    """
    from geodiff.jobs.batches.request import BatchRequest

    request = BatchRequest(**fields, command=SHARING.sub("", command_line(ctx)))
    if dry_run:
        from geodiff.jobs.batch import plan as job

        plan = job(request)
        if as_json:
            options.print_json(plan.as_dict())
        else:
            click.echo(plan_table(plan, request.out_dir))
        if plan.unusable and request.on_error == "fail":
            raise GeodiffError(f"{plan.unusable[0].name}: {plan.unusable[0].reason}")
        ctx.exit(0 if plan.units else PARTLY)
    ctx.meta[STOPPED] = (
        f"finished units are kept in {request.out_dir}; the same command makes the others"
    )
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.batch import steps

        result = shown.follow(steps(request))
        shown.done(path=result.out_dir)
    if as_json:
        options.print_json(result.as_dict())
    elif not options.is_quiet(ctx):
        click.echo(summary(result))
    if not result.complete:
        ctx.exit(PARTLY)


def plan_table(plan: BatchPlan, out_dir: str) -> str:
    """What --dry-run prints."""
    rows: dict[str, object] = {
        "output": out_dir,
        "units": plan.units,
        "there already": plan.kept,
        "size": f"{plan.megapixels:.2f} megapixels to paint",
        "charts": plan.charts,
        "evaluations": f"about {plan.evaluations} of one window",
        "time": f"about {duration(plan.seconds)} in one process",
        "disk": room(plan.disk_mb),
    }
    if plan.unplaced:
        rows["not counted"] = f"{plan.unplaced} units whose size is not known, see the notes"
    for number, one in enumerate(plan.unusable[:SHOWN], start=1):
        rows[f"cannot be used {number}"] = f"{one.name}: {one.reason}"
    if len(plan.unusable) > SHOWN:
        rows["cannot be used .."] = f"{len(plan.unusable) - SHOWN} more"
    rows |= {f"note {number}": note for number, note in enumerate(plan.notes, start=1)}
    return options.aligned(rows)


def summary(result: BatchResult) -> str:
    """What was made, and what was not."""
    counts, failures = result.report.counts, result.report.failures
    told = [
        f"{result.out_dir}: {counts['made']} made, {counts['kept']} were there, "
        f"{counts['failed']} failed of {counts['units']} units, {duration(result.seconds)}"
    ]
    for row in failures[:SHOWN]:
        told.append(f"  {row['unit'] or row['source']}: {row['reason']}")
    if len(failures) > SHOWN:
        told.append(f"  and {len(failures) - SHOWN} more, see report.json")
    published, held = len(result.report.published), len(result.report.held)
    unpublished = result.report.unpublished
    if published or held or unpublished:
        told.append(f"  published: {published} now, {held} before, {len(unpublished)} not taken")
    told += [f"  {name} is not published: {why}" for name, why in [*unpublished.items()][:SHOWN]]
    if len(unpublished) > SHOWN:
        told.append(f"  and {len(unpublished) - SHOWN} more, see report.json")
    if result.virtual:
        many = "show" if len(result.virtual) > 1 else "shows"
        told.append(f"  {', '.join(result.virtual)} {many} all of them")
    return "\n".join(told)
