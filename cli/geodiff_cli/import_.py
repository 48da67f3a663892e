"""`geodiff import`: a checkpoint of a latent diffusion model -> a model directory."""

from __future__ import annotations

from typing import Any

import click

from geodiff_cli import options
from geodiff_cli.progress import Progress

EXAMPLES = options.examples(
    "geodiff import naip/last.ckpt --config naip/project.yaml --out naip-model",
    "geodiff import zoomldm/naip/weights.ckpt --licence MIT --out zoom-model",
)

KINDS = ("naip", "brca-20x", "crc-20x", "brca-5x", "zoomldm-naip", "zoomldm-brca")


@click.command("import", epilog=EXAMPLES, short_help="Turn a checkpoint into a model directory.")
@click.argument("checkpoint")
@click.option(
    "-o", "--out", "--output", "out", required=True, metavar="DIR",
    help="Model directory to write; --model takes it.",
)  # fmt: skip
@click.option("--config", metavar="FILE", help="The project.yaml that lies beside the checkpoint.")
@click.option(
    "--kind", type=click.Choice(KINDS),
    help="Which published model it is, or is like.  [default: told by layout and --config]",
)  # fmt: skip
@click.option(
    "--name", metavar="NAME", help="Name of the model in every output.  [default: the kind]"
)
@click.option(
    "--gsd", type=float, metavar="M",
    help="Metres per pixel of the finest training images.  [default: the kind's]",
)  # fmt: skip
@click.option(
    "--guidance", type=float, metavar="SCALE",
    help="Default of `geodiff synthesize --guidance`.  [default: the kind's]",
)  # fmt: skip
@click.option(
    "--licence", default="not stated: ask who published the weights", show_default=True,
    metavar="TEXT", help="Of the weights.",
)  # fmt: skip
@click.option(
    "--level", type=int, default=0, show_default=True, metavar="N",
    help="Scale to paint at, of a model that knows several: pixels are 2**N times the finest.",
)  # fmt: skip
@click.option(
    "--allow", multiple=True, metavar="PATTERN",
    help="Tensors that may be unknown, or missing (then they are zero), such as 'model.extra.*'; "
    "may be repeated.",
)  # fmt: skip
@click.option(
    "--ema/--no-ema", default=True, show_default=True,
    help="Take running averages of the weights, where the checkpoint has them.",
)  # fmt: skip
@click.option("--half", is_flag=True, help="Write weights in half precision.")
@click.option(
    "--largest", type=float, default=32.0, show_default=True, metavar="GB",
    help="Refuse larger checkpoints.",
)  # fmt: skip
@options.overwrite
@options.reporting
@click.pass_context
def import_(ctx: click.Context, /, as_json: bool, progress: str, **fields: Any) -> None:
    """Turn a CHECKPOINT of a latent diffusion model into a model directory for --model.

    Takes .ckpt, .pt and .safetensors files of the models of Graikos et al. 2024 and of ZoomLDM, and
    of networks built like them. Nothing in a file is ever run. Every tensor is accounted for:
    unknown and missing ones are listed and refused.
    """
    with Progress(ctx, progress) as shown:
        shown.loading()
        from geodiff.jobs.import_checkpoint import ImportRequest, steps

        made = shown.follow(steps(ImportRequest(**fields)))
        shown.done(path=made.path)
    if as_json:
        options.print_json(made.as_dict())
    elif not options.is_quiet(ctx):
        weights = ", ".join(f"{part} {count}" for part, count in made.weights.items())
        click.echo(f"{made.path}: model {made.name}, {weights} weights")
        click.echo(f"denoiser: {'running averages' if made.averages else 'weights as trained'}")
        for reason, count in made.left_out.items():
            click.echo(f"left out: {count} tensors, {reason}")
        if made.allowed:
            click.echo(f"allowed: {', '.join(made.allowed)}")
