"""Whatever goes wrong ends in one line and the right exit code."""

from __future__ import annotations

import signal

import click
import pytest
from click.testing import CliRunner, Result

from geodiff.errors import DataError, OutputError, UsageError
from geodiff_cli import options
from geodiff_cli.errors import STOPPED, stop_signals
from geodiff_cli.lazy import LazyGroup, command_line
from tests.cli.conftest import failed


def fail_with(error: BaseException, *arguments: str, stopped: str | None = None) -> Result:
    """Run a command that raises ``error``."""

    @click.group(cls=LazyGroup, table={"fail": ("", "")})
    def group() -> None:
        pass

    @click.command()
    @options.verbosity
    @click.pass_context
    def fail(ctx: click.Context) -> None:
        if stopped:
            ctx.meta[STOPPED] = stopped
        raise error

    group.get_command = lambda ctx, name: fail  # type: ignore[method-assign, assignment]
    return CliRunner().invoke(group, ["fail", *arguments], prog_name="geodiff")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("the box is reversed"), 2, "Error: the box is reversed"),
        (DataError("x.tif is empty"), 1, "Error: x.tif is empty"),
        (OutputError("two\n  lines"), 1, "Error: two lines"),
        (KeyboardInterrupt(), 130, "Error: interrupted: unfinished files are removed"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "Error: unexpected ZeroDivisionError: division by zero; "
            "run again with -vv for the traceback",
        ),
        (MemoryError(), 1, "Error: unexpected MemoryError; run again with -vv for the traceback"),
    ],
)
def test_one_line(error: BaseException, code: int, line: str) -> None:
    assert failed(fail_with(error), code) == line


def test_a_command_says_what_an_interrupt_leaves() -> None:
    line = failed(fail_with(KeyboardInterrupt(), stopped="it goes on from runs/a"), 130)
    assert line == "Error: interrupted: it goes on from runs/a"


def test_the_traceback_comes_with_vv() -> None:
    result = fail_with(ZeroDivisionError("here"), "-vv")
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1] == "Error: unexpected ZeroDivisionError: here"


def test_one_v_shows_no_traceback() -> None:
    failed(fail_with(ZeroDivisionError("here"), "-v"), 1)


def test_the_first_stop_signal_interrupts_and_the_second_is_ignored() -> None:
    cleaned: list[bool] = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_signals():
        work()
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before


def recorded(*arguments: str, **variables: str) -> str:
    """The command line that a command with options of every kind records."""
    told: list[str] = []

    @click.group(cls=LazyGroup, table={}, context_settings={"auto_envvar_prefix": "G"})
    def group() -> None:
        pass

    @click.command()
    @click.option("-o", "--out")
    @click.option("--seed", type=int, default=0)
    @click.option("--co", multiple=True)
    @click.option("--overwrite", is_flag=True)
    @options.verbosity
    @click.pass_context
    def paint(ctx: click.Context, **fields: object) -> None:
        told.append(command_line(ctx))

    group.get_command = lambda ctx, name: paint  # type: ignore[method-assign]
    result = CliRunner().invoke(group, ["paint", *arguments], env=variables)
    assert result.exit_code == 0, result.output
    return told[0]


def test_the_command_line_can_be_typed_again() -> None:
    assert recorded("--out", "a b.tif", "--seed", "7") == "geodiff paint --out 'a b.tif' --seed 7"


def test_the_command_line_names_what_variables_set() -> None:
    line = recorded("--seed", "7", G_PAINT_OUT="a b.tif", G_PAINT_SEED="8", G_PAINT_CO="A=1 B=2")
    assert line == "geodiff paint --seed 7 --out 'a b.tif' --co A=1 --co B=2"
    assert recorded(G_PAINT_OVERWRITE="1", G_PAINT_QUIET="1") == "geodiff paint --overwrite"
    assert recorded(G_PAINT_OVERWRITE="0") == "geodiff paint"
