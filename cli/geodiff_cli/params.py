"""Option values of more than one number: boxes, sizes, bands and value ranges."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import click

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """``count`` numbers between commas or spaces, with or without brackets around them."""

    def __init__(self, metavar: str, count: int, kind: type[int] | type[float]) -> None:
        self.name, self.count, self.kind = metavar, count, kind

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """How the value is written in the help."""
        return self.name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """A tuple of ``count`` numbers; click.BadParameter for anything else."""
        if isinstance(value, tuple):
            return value
        words = str(value).strip(" []()").replace(",", " ").split()
        try:
            numbers = tuple(self.kind(word) for word in words)
        except ValueError:
            self.refuse(value, param, ctx)
        if len(numbers) != self.count:
            self.refuse(value, param, ctx)
        return numbers

    def refuse(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> NoReturn:
        """Say what was expected."""
        kind = "whole numbers" if self.kind is int else "numbers"
        self.fail(f"{value!r} is not {self.count} {kind}: give {self.name}", param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """``WIDTHxHEIGHT`` in pixels as a pair of numbers."""

    name = "WIDTHxHEIGHT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Width and height; click.BadParameter for anything else."""
        if isinstance(value, tuple):
            return value[0], value[1]
        sides = re.fullmatch(r"\s*(\d+)\s*[xX×, ]\s*(\d+)\s*", str(value))
        if sides is None:
            self.fail(f"{value!r} is not WIDTHxHEIGHT, such as 4096x4096", param, ctx)
        return int(sides[1]), int(sides[2])


class Named(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """``NAME=VALUE`` as a pair of texts."""

    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The name and the value; click.BadParameter for anything else."""
        if isinstance(value, tuple):
            return value[0], value[1]
        name, mark, rest = str(value).partition("=")
        if not (name and mark and rest):
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, rest


NAMED = Named()
SIZE = Size()
BBOX = Numbers("W,S,E,N", 4, float)
BANDS = Numbers("R,G,B", 3, int)
RANGE = Numbers("LO,HI", 2, float)


class BoxCommand(click.Command):
    """A command whose --bbox also takes its four numbers as four words, as other tools do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the numbers behind --bbox into one word, then parse."""
        return super().parse_args(ctx, join_box(args))


def join_box(args: list[str]) -> list[str]:
    """``--bbox 1 2 3 4`` becomes ``--bbox "1 2 3 4"``; everything else stays as it is."""
    for start, word in enumerate(args):
        if word == "--":
            break
        if word != "--bbox":
            continue
        box: list[str] = []
        for part in args[start + 1 : start + 5]:
            if not all(_NUMBER.fullmatch(n) for n in part.strip("[](),").split(",")):
                break
            box.append(part)
        if len(box) > 1 and sum(part.strip("[](),").count(",") + 1 for part in box) == 4:
            return [*args[: start + 1], " ".join(box), *args[start + 1 + len(box) :]]
    return args
