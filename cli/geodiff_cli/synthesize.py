"""`geodiff synthesize`: a box and something to go by -> a mosaic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from geodiff.jobs.request import FILLS, LAYOUTS, SynthesizeRequest
from geodiff_cli import options, painting_options
from geodiff_cli.errors import STOPPED
from geodiff_cli.lazy import command_line
from geodiff_cli.params import BoxCommand
from geodiff_cli.progress import Progress
from geodiff_cli.stac_options import stac

if TYPE_CHECKING:
    from geodiff.jobs.plan import Plan
    from geodiff.jobs.synthesize import Result

SHOWN = 12
"""Lines of the plan about the parts of a source."""

EXAMPLES = options.examples(
    "geodiff synthesize --bbox -117.76,34.09,-117.75,34.098 --res 0.6 --out mosaic.tif",
    "geodiff synthesize --reference photo.tif --seed 7 --out twin.tif --preview twin.png",
)


@click.command(cls=BoxCommand, epilog=EXAMPLES, short_help="Write a synthetic mosaic.")
@options.out("Cloud-Optimized GeoTIFF to write (.tif); a STAC item of the same name joins it.")
@options.model
@options.bbox
@options.bbox_crs
@options.crs("the source's, else the UTM zone of the box")
@options.res("the source's, else the model's")
@options.like
@options.size
@click.option("--reference", metavar="FILE", help="Raster to go by; alone, its grid is kept.")
@options.bands
@options.scale
@click.option(
    "--embeddings", metavar="FILE", help="Saved grid to go by instead: .tif, .zarr or .parquet."
)
@stac
@options.text
@options.polygons
@options.prompt_guidance
@click.option(
    "--fill",
    type=click.Choice(FILLS),
    help="Where the source has no data: its nearest cell, or stop.  [default: nearest]",
)
@options.gsd
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Whole number from 0 to 2**63 - 1; it picks the mosaic.",
)
@click.option(
    "--prior-seed", "--prompt-seed", "prior_seed", type=int,
    help="Seed of the layout alone, without an image or grid to go by.  [default: --seed]",
)  # fmt: skip
@painting_options.sampling
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="auto",
    show_default=True,
    help="single: one canvas. world: charts of the lattice, so that neighbouring boxes join and a "
    "stopped run goes on. auto: single up to 4096 px a side, unless an option asks for charts.",
)
@click.option(
    "--chart", type=int, metavar="PX",
    help="Side of a world chart; another side gives another mosaic.  [default: 2048]",
)  # fmt: skip
@click.option(
    "--workers", type=int, default=0, metavar="N",
    help="Paint charts in N processes of this machine.  [default: in this one]",
)  # fmt: skip
@click.option(
    "--scheduler", metavar="ADDRESS",
    help="Paint charts on a running Dask cluster, such as tcp://host:8786.",
)  # fmt: skip
@click.option("--restart", is_flag=True, help="Begin anew where an unfinished mosaic lies.")
@options.device
@painting_options.precision
@options.overwrite
@painting_options.cog
@click.option("--preview", metavar="FILE", help="PNG quick look of up to 1024 px to write as well.")
@click.option("--dry-run", is_flag=True, help="Print grid, work, time and memory; write nothing.")
@options.reporting
@click.pass_context
def synthesize(
    ctx: click.Context, /, dry_run: bool, as_json: bool, progress: str, **fields: Any
) -> None:
    """Write a synthetic aerial mosaic as a Cloud-Optimized GeoTIFF.

    It goes by a --reference raster, by images of a --stac catalogue, by saved --embeddings, or by
    the model's own prior, which follows a --text or the labelled polygons of a --layout-file if
    one is given. The same request gives the same pixels.
    """
    request = SynthesizeRequest(**fields, command=command_line(ctx))
    from geodiff.jobs.mosaic.check import check_request

    check_request(request)  # before torch is imported: a typo is answered at once
    if dry_run:
        from geodiff.jobs.synthesize import plan as job

        plan = job(request)
        if as_json:
            options.print_json(plan.as_dict())
        else:
            click.echo(plan_table(plan, request.out))
        return
    ctx.meta[STOPPED] = lambda: told_unfinished(request.out)
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.synthesize import steps

        result = shown.follow(steps(request))
        shown.done(path=result.path)
    if as_json:
        options.print_json(result.as_dict())
    elif not options.is_quiet(ctx):
        click.echo(summary(result))


def told_unfinished(out: str) -> str:
    """What a stopped run leaves behind, for the user who stopped it."""
    from geodiff.jobs.mosaic.check import unfinished

    found = unfinished(out)
    if found is None:
        return "unfinished files are removed"
    done, total = found
    return (
        f"{done} of {total} charts are finished and kept beside {out}; the same command goes on "
        "from there, --restart begins anew"
    )


def plan_table(plan: Plan, out: str) -> str:
    """What --dry-run prints."""
    height, width = plan.grid.window.shape
    affine = plan.grid.geobox.affine
    bounds = plan.grid.bounds_lonlat()
    rows: dict[str, object] = {
        "output": out,
        "size": f"{width} x {height} px ({width * height / 1e6:.2f} megapixels)",
        "CRS": plan.grid.crs_name,
        "transform": ", ".join(f"{value:.12g}" for value in affine[:6]),
        "ground sample": f"{plan.gsd:.3g} m per pixel",
    }
    if bounds is not None:
        rows["longitude"] = f"{bounds[0]:.6f} to {bounds[2]:.6f}"
        rows["latitude"] = f"{bounds[1]:.6f} to {bounds[3]:.6f}"
    covered = "" if plan.coverage is None else f", covers {plan.coverage:.1%}"
    rows |= {
        "goes by": f"{plan.source}{covered}",
        **found_rows(plan.found),
        "model": plan.model,
        "layout": plan.layout_words,
        "charts": len(plan.charts),
        "steps": plan.sampling.steps,
        "windows": f"{plan.windows} a step",
        "evaluations": f"{plan.evaluations} of one window",
        "time": f"about {duration(plan.seconds)}",
        "memory": f"about {plan.memory_mb:.0f} MB",
        "disk": f"{room(plan.disk_mb)} while it runs",
    }
    rows |= {f"note {number}": note for number, note in enumerate(plan.notes, start=1)}
    return options.aligned(rows)


def found_rows(found: Mapping[str, Any]) -> dict[str, object]:
    """Rows about a source: what is counted, and shares of the mosaic by name."""
    rows: dict[str, object] = {}
    for name, value in found.items():
        if isinstance(value, Mapping):
            parts = [f"{share:.1%} {part[:80]}" for part, share in value.items()]
            rows |= {f"{name} {n}": part for n, part in enumerate(parts[:SHOWN], start=1)}
            if len(parts) > SHOWN:
                rows[f"{name} .."] = f"{len(parts) - SHOWN} more"
        else:
            rows[name] = f"{value:.1%}" if isinstance(value, float) else value
    return rows


def summary(result: Result) -> str:
    """One line about a finished mosaic."""
    plan = result.plan
    height, width = plan.grid.window.shape
    return (
        f"{result.path}: {width} x {height} px, {plan.grid.crs_name}, "
        f"seed {result.provenance.seed}, model {plan.model}, "
        f"{plan.evaluations} evaluations, {duration(result.seconds)}"
    )


def duration(seconds: float) -> str:
    """Seconds below two minutes, else minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def room(megabytes: float) -> str:
    """An upper bound of room on disk, in MB below 10 GB, else in GB or TB."""
    if megabytes < 1:
        return "less than 1 MB"
    for unit, size in (("TB", 1e6), ("GB", 1e3)):
        if megabytes >= 10 * size:
            return f"up to {megabytes / size:,.0f} {unit}"
    return f"up to {megabytes:.0f} MB"
