"""`geodiff evaluate`: held-out imagery and a model, or two -> figures of quality."""

from __future__ import annotations

from typing import Any

import click

from geodiff.errors import GeodiffError
from geodiff_cli import options
from geodiff_cli.errors import STOPPED
from geodiff_cli.params import NAMED
from geodiff_cli.progress import Progress

EXAMPLES = options.examples(
    "geodiff evaluate datasets/naip",
    "geodiff evaluate datasets/* --reference scene.tif --report quality.html",
    "geodiff evaluate datasets/naip --model mine --against shipped --json",
    "geodiff evaluate datasets/naip --features clip --weights clip=model.safetensors",
)


@click.command(epilog=EXAMPLES, short_help="Measure a model on held-out imagery.")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--reference", "references", multiple=True, metavar="FILE",
    help="A raster of another place or style; may be given several times.",
)  # fmt: skip
@options.model
@click.option(
    "--against",
    metavar="DIR",
    help="Another model directory, or `shipped`, compared on the same images.",
)
@click.option(
    "--limit", type=int, default=200, show_default=True, metavar="N",
    help="Patches of a source at most.",
)  # fmt: skip
@click.option(
    "--megapixels", type=float, default=1.05, show_default=True, metavar="MP",
    help="Of large images a source; 0 paints none.",
)  # fmt: skip
@click.option(
    "--features", multiple=True, metavar="NAME",
    help="Space of the distances, several times: encoder (always), efficientnet-lite0, inception "
    "(FID), clip, dinov2.  [default: the first two]",
)  # fmt: skip
@click.option(
    "--weights", multiple=True, type=NAMED, metavar="NAME=FILE",
    help="Weights of inception, clip or dinov2.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
@click.option("--steps", type=int, metavar="N", help="Solver steps.  [default: the mode's]")
@click.option("--guidance", type=float, metavar="SCALE", help="[default: the model's]")
@click.option(
    "--report", metavar="PATH",
    help="Write a page with pictures: a file .html, or a folder (report.html, report.json).",
)  # fmt: skip
@options.device
@options.reporting
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    report: str | None,
    as_json: bool,
    progress: str,
    **fields: Any,
) -> None:
    """Measure a model on the val patches of DATASETs (of `geodiff prepare`) and on rasters.

    Repaints them from their own embeddings, as patches and as mosaics, and prints how well the
    result follows the embeddings and how near it is to real imagery, with the same figures of real
    against real.
    """
    ctx.meta[STOPPED] = "nothing was written"
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.evaluate import EvaluateRequest
        from geodiff.jobs.evaluate import evaluate as job
        from geodiff.jobs.measures import tabulate
        from geodiff.jobs.measures.report import check_report, write_report

        request = EvaluateRequest(**fields)
        if report is not None:
            check_report(report)
        outcome = shown.follow(job(request))
        written: str | None = None
        lost: GeodiffError | None = None
        if report is not None:
            try:
                written = str(write_report(outcome, report))
            except GeodiffError as error:  # the figures took long: print them all the same
                lost = error
        shown.done(path=written)
    if as_json:
        options.print_json({**outcome.as_dict(), "report": written})
    elif not options.is_quiet(ctx):
        ours = outcome.ours
        click.echo(f"{ours.model}, {ours.mode}, {ours.steps} steps, guidance {ours.guidance:g}")
        for title, rows in tabulate.tables(ours).items():
            click.echo(f"\n{title}\n{tabulate.text(rows)}")
        if outcome.verdicts:
            click.echo(f"\n{tabulate.text(tabulate.verdict_rows(outcome.verdicts))}")
            click.echo(f"\n{outcome.verdicts[0].words}")
        if written is not None:
            click.echo(f"\n{written}")
    if lost is not None:
        raise lost
