"""`geodiff export`: a model -> a folder in diffusers' layout with a card."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options

EXAMPLES = options.examples(
    "geodiff export --out naip-small",
    "geodiff export --model fields-model --out fields-hub",
)


@click.command(epilog=EXAMPLES, short_help="Write a model as a folder for the Hugging Face hub.")
@options.model
@click.option(
    "-o", "--out", "--output", "out", required=True, metavar="DIR",
    help="Folder to write; --model takes it too.",
)  # fmt: skip
@options.overwrite
@click.option("--json", "as_json", is_flag=True, help="Print the model's facts as JSON.")
@options.verbosity
@click.pass_context
def export(ctx: click.Context, /, as_json: bool, **fields: Any) -> None:
    """Write a model in diffusers' layout with a card, ready for the Hugging Face hub.

    Nothing is uploaded. The folder gives the same pixels; share it only if the licence of the
    weights lets you.
    """
    from geodiff.jobs.export import ExportRequest
    from geodiff.jobs.export import export as job

    model = job(ExportRequest(**fields))
    if as_json:
        options.print_json(model.facts())
    elif not options.is_quiet(ctx):
        click.echo(f"{model.path}: model {model.name}, hash {model.hash}, licence {model.licence}")
