"""`geodiff evaluate`: held-out patches and a model -> figures of quality."""

from __future__ import annotations

import click

from geodiff_cli import options
from geodiff_cli.progress import Progress

EXAMPLES = options.examples(
    "geodiff evaluate datasets/naip",
    "geodiff evaluate datasets/naip --model mine --guidance 2 --json",
)


@click.command(epilog=EXAMPLES, short_help="Measure a model on held-out patches.")
@click.argument("dataset")
@options.model
@click.option(
    "--limit", type=int, default=200, show_default=True, metavar="N", help="Patches at most."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
@click.option("--steps", type=int, metavar="N", help="Solver steps.  [default: the mode's]")
@click.option("--guidance", type=float, metavar="SCALE", help="[default: the model's]")
@options.device
@options.reporting
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    dataset: str,
    model: str | None,
    limit: int,
    seed: int,
    steps: int | None,
    guidance: float | None,
    device: str,
    as_json: bool,
    progress: str,
) -> None:
    """Repaint the val patches of DATASET (of `geodiff prepare`) from their own embeddings.

    Prints how well the result follows them and how near it is to real imagery. Distances are in
    the model's own embedding space: they compare models that share an encoder, and are no FID.
    """
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff import load
        from geodiff.jobs.dataset import PatchSet
        from geodiff.jobs.evaluate import evaluate as job

        patches = PatchSet.open(dataset)
        report = shown.follow(job(load(model, device), patches, limit, seed, steps, guidance))
        shown.done(path=dataset)
    facts = report.as_dict()
    if as_json:
        options.print_json(facts)
    elif not options.is_quiet(ctx):
        shown_facts = {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in facts.items()
        }
        click.echo(options.aligned(shown_facts))
