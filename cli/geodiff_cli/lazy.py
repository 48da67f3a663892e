"""A click group that imports the module of a command only when that command is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click
from click.core import ParameterSource

from geodiff_cli.errors import one_line

ARGUMENTS = "geodiff_cli.arguments"
"""Key of ``click.Context.meta``: the words after the program's name."""


class LazyGroup(click.Group):
    """Commands from ``table``: name -> (module, one line of help).

    The module holds the command under the command's own name, with an underscore behind a word of
    the language (``import_``). It is the outermost group of the program (or a plugin of ``rio``),
    so every error of its commands passes through it.
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
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = getattr(import_module(self.table[cmd_name][0]), name)
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


def command_line(ctx: click.Context) -> str:
    """The command line as a user could type it again, with the options set by variables."""
    words = ["geodiff", *ctx.meta.get(ARGUMENTS, [])]
    for param in ctx.command.params:
        name = str(param.name)
        if ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT and name in ctx.params:
            words += option_words(param, ctx)
    return shlex.join(words)


def option_words(param: click.Parameter, ctx: click.Context) -> list[str]:
    """An option that a variable sets, as words of a command line."""
    option = next(opt for opt in param.opts if opt.startswith("--"))
    if isinstance(param, click.Option) and param.is_flag:
        return [option] if ctx.params[str(param.name)] else []
    given = param.value_from_envvar(ctx)
    values = given if isinstance(given, (list, tuple)) else [given]
    return [word for value in values for word in (option, str(value))]
