"""`geodiff info`: versions, devices and the facts of a model."""

from __future__ import annotations

import click

from geodiff_cli import options

EXAMPLES = options.examples("geodiff info", "geodiff info --model ./my-model --json")


@click.command(epilog=EXAMPLES, short_help="Show versions, devices and the facts of a model.")
@options.model
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@options.verbosity
def info(model: str | None, as_json: bool) -> None:
    """Show versions, devices and the facts of a model.

    Works without a model too, and says so.
    """
    from geodiff.jobs import info as job

    facts = job.info(model)
    if as_json:
        options.print_json(facts)
        return
    click.echo(options.aligned(facts["versions"]))
    click.echo()
    click.echo(
        options.aligned({"devices": ", ".join(facts["devices"]), "threads": facts["threads"]})
    )
    click.echo()
    if facts["model"] is None:
        click.echo(options.aligned({"model": f"none: {facts['model_missing']}"}))
    else:
        click.echo(options.aligned({key: shown(value) for key, value in facts["model"].items()}))


def shown(value: object) -> object:
    """A fact in words: parts of a table and ends of a range on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list):
        return " to ".join(map(str, value))
    return value
