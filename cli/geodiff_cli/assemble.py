"""`geodiff assemble`: trained parts -> a model directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.options import F
from geodiff_cli.params import RANGE

EXAMPLES = options.examples(
    "geodiff assemble --name fields --encoder runs/e/encoder --codec runs/c/codec \\",
    "    --denoiser runs/d/denoiser --prior runs/p/prior --out fields-model",
    "geodiff synthesize --model fields-model --bbox 11.3,48.0,11.31,48.01 --out fields.tif",
)


def part(name: str, required: bool = True) -> Callable[[F], F]:
    """The option that names a trained part."""
    text = f"Folder RUN/{name} of `geodiff train {name}`."
    return click.option(f"--{name}", required=required, metavar="DIR", help=text)


@click.command(epilog=EXAMPLES, short_help="Put trained parts together into a model directory.")
@click.option(
    "-o", "--out", "--output", "out", required=True, metavar="DIR",
    help="Model directory to write; --model takes it.",
)  # fmt: skip
@part("encoder")
@part("codec")
@part("denoiser")
@part("prior")
@part("probe", required=False)
@click.option("--name", required=True, metavar="NAME", help="Name of the model in every output.")
@click.option(
    "--gsd", type=float, default=0.6, show_default=True, metavar="M",
    help="Metres per pixel of a mosaic without --res.",
)  # fmt: skip
@click.option(
    "--gsd-range", type=RANGE, default="0.3,1.0", show_default=True,
    help="Metres per pixel seen in training.",
)  # fmt: skip
@click.option(
    "--window", type=int, default=32, show_default=True, metavar="N",
    help="Latents a side of the windows that are painted.",
)  # fmt: skip
@click.option(
    "--guidance", type=float, default=1.5, show_default=True, metavar="SCALE",
    help="Default of `geodiff synthesize --guidance`.",
)  # fmt: skip
@click.option(
    "--steer", type=float, default=0.5, show_default=True, metavar="X",
    help="How far a probe moves predictions towards the asked embeddings; 0 is not at all.",
)  # fmt: skip
@click.option("--credit", default="", metavar="TEXT", help="Of the training imagery.")
@click.option(
    "--licence", default="Apache-2.0", show_default=True, metavar="TEXT", help="Of the weights."
)
@click.option("--card", metavar="FILE", help="Markdown to go along as README.md.")
@options.overwrite
@click.option("--json", "as_json", is_flag=True, help="Print the model's facts as JSON.")
@options.verbosity
@click.pass_context
def assemble(ctx: click.Context, /, as_json: bool, **fields: Any) -> None:
    """Put trained parts together into a model directory for --model.

    The parts are checked against each other; nothing is written unless they fit.
    """
    from geodiff.jobs.assemble import AssembleRequest
    from geodiff.jobs.assemble import assemble as job

    model = job(AssembleRequest(**fields))
    if as_json:
        options.print_json(model.facts())
    elif not options.is_quiet(ctx):
        megabytes = sum(model.facts()["megabytes"].values())
        click.echo(f"{model.path}: model {model.name}, hash {model.hash}, {megabytes:.1f} MB")
