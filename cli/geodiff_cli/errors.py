"""Whatever ends a command early becomes one line on stderr and an exit code."""

from __future__ import annotations

import errno
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from geodiff.errors import GeodiffError

PARTLY = 3
"""Exit code of a batch that came to its end while some of its units failed."""

INTERRUPTED = 130
"""Exit code after Ctrl-C and its like: 128 + SIGINT, as shells have it."""

VERBOSE = "geodiff_cli.verbose"
"""Key of ``click.Context.meta``: how often -v was given."""

STOPPED = "geodiff_cli.stopped"
"""Key of ``click.Context.meta``: what to tell who interrupts this command, or what gives it."""


class Failure(click.ClickException):
    """An error that click prints as one line ``Error: ...``, with its own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance


@contextmanager
def one_line(ctx: click.Context | None) -> Iterator[None]:
    """Turn what the body raises into a `Failure`; -vv shows the traceback before that line.

    Exit codes: 1 for what fails while running, 2 for wrong usage, 130 for Ctrl-C, SIGTERM and
    SIGHUP. A batch of which some units failed ends with 3, which is no error. ``ctx`` is None while
    the outermost arguments are being parsed.
    """
    meta = ctx.meta if ctx else {}
    try:
        with stop_signals():
            yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        raise Failure(error.format_message().rstrip(".") + hint, error.exit_code) from None
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (KeyboardInterrupt, click.Abort):
        stopped = meta.get(STOPPED, "unfinished files are removed")
        told = stopped() if callable(stopped) else stopped
        raise Failure(f"interrupted: {told}", INTERRUPTED) from None
    except GeodiffError as error:
        show_traceback(meta)
        raise Failure(str(error), error.exit_code) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # whoever read our output has gone: click ends quietly
        show_traceback(meta)
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        again = "" if verbose(meta) > 1 else "; run again with -vv for the traceback"
        raise Failure(f"unexpected {what}{again}", 1) from None


def verbose(meta: dict[str, object]) -> int:
    """How often -v was given; -q counts as -1."""
    value = meta.get(VERBOSE, 0)
    return value if isinstance(value, int) else 0


def show_traceback(meta: dict[str, object]) -> None:
    """Print the traceback of the error being handled, if -vv was given."""
    if verbose(meta) > 1:
        click.echo(traceback.format_exc(), err=True, nl=False)


@contextmanager
def stop_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, so that clean-up runs as after Ctrl-C.

    Only the first of them counts: a second one must not cut the clean-up short. Signals that the
    caller ignores or handles stay as they are (``nohup`` ignores SIGHUP).
    """
    taken: list[signal.Signals] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for name in taken:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, stop)
                taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
