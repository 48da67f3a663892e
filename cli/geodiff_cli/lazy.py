"""A click group that imports the module of a command only when that command is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, MutableMapping
from importlib import import_module
from typing import Any

import click

from geodiff_cli.errors import one_line

ARGUMENTS = "geodiff_cli.arguments"
"""Key of ``click.Context.meta``: the words after the program's name."""


class LazyGroup(click.Group):
    """Commands from ``table``: name -> (module, one line of help).

    The module holds the command under the command's own name. It is the outermost group of the
    program (or a plugin of ``rio``), so every error of its commands passes through it.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table: the order in which a user meets them."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None for an unknown name."""
        if cmd_name not in self.table:
            return None
        command = getattr(import_module(self.table[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the group's own options, remembering the words for `command_line`."""
        words = list(args)
        with one_line(None):
            ctx = super().make_context(info_name, args, parent, **extra)
        ctx.meta[ARGUMENTS] = words
        return ctx

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises becomes one line."""
        with one_line(ctx):
            return super().invoke(ctx)


def command_line(meta: MutableMapping[str, Any]) -> str:
    """The command line as a user could type it again."""
    return shlex.join(["geodiff", *meta.get(ARGUMENTS, [])])
