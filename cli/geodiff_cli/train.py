"""`geodiff train codec|encoder|denoiser|prior|probe`: a configuration -> a trained part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import click

from geodiff.steps import Step
from geodiff_cli import options
from geodiff_cli.errors import STOPPED, VERBOSE
from geodiff_cli.options import F
from geodiff_cli.progress import Progress, draining

PARTS = {
    "codec": "Pixels to latents and back; train it first.",
    "encoder": "Pixels of a cell to an embedding; needs no other part.",
    "denoiser": "Noise to latents under embeddings; needs codec and encoder.",
    "prior": "Embeddings from words or nothing; needs the encoder.",
    "probe": "Latents to embeddings, to steer a denoiser; needs codec and encoder.",
}
"""Name of a part -> what it does. Its job is geodiff.jobs.train_NAME, its config NameConfig."""


@click.group(short_help="Train a codec, an encoder, a denoiser, a prior or a probe.")
def train() -> None:
    """Train one part of a model from a TOML file; `geodiff assemble` joins the parts.

    A run that was stopped goes on from its last checkpoint when the command is given again. Figures
    are in RUN/metrics.csv, pictures in RUN/samples. On several GPUs:

    \b
      torchrun --nproc-per-node 4 -m geodiff_cli train denoiser denoiser.toml
    """


def amount(part: str) -> Callable[[F], F]:
    """How much to train: the option --steps, and --blocks of a prior that is an atlas."""
    steps = click.option(
        "--steps", type=int, metavar="N", help="Steps in all.  [default: the file's]"
    )
    if part != "prior":
        return steps
    blocks = click.option(
        "--blocks", type=int, metavar="N",
        help="Patches in an atlas, which takes no steps.  [default: the file's]",
    )  # fmt: skip
    return lambda command: steps(blocks(command))


def part_command(part: str, purpose: str) -> click.Command:
    """The command that trains one part."""

    @click.command(
        part,
        help=f"Train a {part}. {purpose}",
        short_help=purpose,
        epilog=options.examples(
            f"geodiff train {part} {part}.toml",
            f"geodiff train {part} {part}.toml --run runs/{part}-2",
        ),
    )
    @click.argument("config", metavar="CONFIG.toml")
    @click.option("--run", metavar="DIR", help="Folder of checkpoints.  [default: the file's]")
    @amount(part)
    @options.training_device
    @options.reporting
    @click.pass_context
    def command(
        ctx: click.Context, /, config: str, as_json: bool, progress: str, **overrides: Any
    ) -> None:
        configs = import_module("geodiff.jobs.training.config")
        kind = getattr(configs, f"{part.title()}Config")
        filling = import_module("geodiff.jobs.training.filling")
        settings = filling.load_config(kind, config, **overrides)
        ctx.meta[STOPPED] = f"the same command goes on from the checkpoint in {settings.run}"
        follower = os.environ.get("RANK", "0") != "0"  # torchrun: one process tells what happens
        if follower:
            progress, as_json, ctx.meta[VERBOSE] = "none", False, -1
        with Progress(ctx, progress) as shown:
            shown.loading()
            module = import_module(f"geodiff.jobs.train_{part}")
            job: Callable[[Any], Iterator[Step]] = getattr(module, f"train_{part}")
            shown.follow(draining(job(settings)))
            shown.done(path=settings.run)
        if as_json:
            options.print_json({"part": part, "run": settings.run})
        elif not options.is_quiet(ctx):
            click.echo(f"{settings.run}: {part} trained")

    return command


for _part, _purpose in PARTS.items():
    train.add_command(part_command(_part, _purpose))
