"""Options of commands that paint mosaics: how they are sampled and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from geodiff.jobs.request import MODES, PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])

PROFILES = ("zstd", "deflate", "lzw", "jpeg", "webp")

precision = click.option(
    "--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
    help="Of the network; auto takes bf16 where the hardware has it.",
)  # fmt: skip


def sampling(command: F) -> F:
    """--mode and what overrides it."""
    for option in (
        click.option(
            "--batch", type=int, default=8, show_default=True, metavar="N",
            help="Windows a network call.",
        ),
        click.option(
            "--guidance", type=float, metavar="SCALE",
            help="How strictly to follow the source; 1 is plain.  [default: the model's]",
        ),
        click.option(
            "--steps", type=int, metavar="N", help="Solver steps.  [default: the mode's]"
        ),
        click.option(
            "--mode", type=click.Choice(MODES), default="balanced", show_default=True,
            help="How densely windows overlap; paper is the published sampler, about 60 times the "
            "work.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def cog(command: F) -> F:
    """--cog-profile and --co."""
    for option in (
        click.option(
            "--co", multiple=True, metavar="NAME=VALUE",
            help="Option of GDAL's COG driver; repeatable.",
        ),
        click.option(
            "-p", "--cog-profile", type=click.Choice(PROFILES), default="zstd", show_default=True,
            help="Compression of the output; jpeg and webp lose detail.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command
