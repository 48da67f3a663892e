"""`geodiff load`: fetch a model of the hub and check it."""

from __future__ import annotations

import click

from geodiff_cli import options

EXAMPLES = options.examples(
    "geodiff load hub:org/name@0123456789abcdef0123456789abcdef01234567",
    "geodiff synthesize --model hub:org/name@v1 --embeddings cells.tif --out mosaic.tif",
)


@click.command(epilog=EXAMPLES, short_help="Fetch a model of the hub and check it.")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print the model's facts as JSON.")
@options.verbosity
@click.pass_context
def load(ctx: click.Context, /, model: str, as_json: bool) -> None:
    """Fetch MODEL, hub:org/name@revision, into the hub's cache, and load it once.

    Only tables, cards and safetensors are fetched, never code or a pickle. A commit as the revision
    pins every file. MODEL may also be a directory.
    """
    import geodiff

    found = geodiff.load(model, "cpu")
    if as_json:
        options.print_json(found.facts())
    elif not options.is_quiet(ctx):
        click.echo(f"{found.path}: model {found.name}, hash {found.hash}, licence {found.licence}")
