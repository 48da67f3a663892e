"""Steps of a running job -> a bar, JSON lines or its notes alone, always on stderr."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Protocol, TypeVar

import click
from tqdm import tqdm

from geodiff.steps import Step
from geodiff_cli.options import is_quiet

log = logging.getLogger(__name__)

T = TypeVar("T")

INTERVAL = 0.1
"""Seconds between two JSON lines of one stage; its first and last step are always printed."""


def write_line(text: str) -> None:
    """One line on stderr, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class AboveBars(logging.Handler):
    """Writes log records on stderr, above a bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        write_line(self.format(record))


class Display(Protocol):
    """Shows steps; ``close`` comes once, whatever happens, ``done`` only after success."""

    def show(self, step: Step) -> None:
        """One more step."""

    def done(self, facts: dict[str, Any]) -> None:
        """The job is finished."""

    def close(self) -> None:
        """Leave the terminal tidy."""


class Silence:
    """Shows nothing."""

    def show(self, step: Step) -> None:
        """Nothing."""

    def done(self, facts: dict[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Notes(Silence):
    """Shows notes, as soon as they come, and nothing else."""

    def show(self, step: Step) -> None:
        """The step's notes."""
        for note in step.notes:
            write_line(f"Note: {note}")


class Bars:
    """One tqdm bar per stage, and the notes above them."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None
        self.stage = ""

    def show(self, step: Step) -> None:
        """Move the bar of this stage, opening it first."""
        for note in step.notes:
            write_line(f"Note: {note}")
        if self.bar is None or self.stage != step.stage:
            self.close()
            self.stage = step.stage
            terminal = shutil.get_terminal_size()  # 80 x 24 where the terminal does not say
            # A resumed run starts in the middle; its pace is counted from there.
            self.bar = tqdm(
                desc=step.stage,
                initial=step.done,
                total=step.total,
                file=sys.stderr,
                leave=step.total > 1,
                ncols=terminal.columns,
                nrows=terminal.lines,
            )
        figures = {name: f"{value:.4g}" for name, value in step.figures.items()}
        self.bar.set_postfix(figures, refresh=False)
        self.bar.update(step.done - self.bar.n)

    def done(self, facts: dict[str, Any]) -> None:
        """Nothing: the last bar stands."""

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Lines:
    """One JSON object a line: stage, done, total, seconds since the start, figures and notes.

    ``seconds_left`` is the stage's, estimated from the pace so far; null until there is one. The
    last line has the stage "done".
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first: tuple[str, int, float] | None = None  # stage, done and time of its first step
        self.printed = -math.inf
        self.last: Step | None = None

    def show(self, step: Step) -> None:
        """Print the step, unless it says nothing new or the stage's last line is only just out."""
        now, last, self.last = time.monotonic(), self.last, step
        if step == last and not step.notes:
            return
        if self.first is None or self.first[0] != step.stage:
            self.first, self.printed = (step.stage, step.done, now), -math.inf
        if step.done < step.total and now - self.printed < INTERVAL and not step.notes:
            return
        self.printed = now
        left = None
        if step.done > self.first[1]:
            pace = (now - self.first[2]) / (step.done - self.first[1])
            left = round(pace * (step.total - step.done), 1)
        line: dict[str, Any] = {
            "stage": step.stage,
            "done": step.done,
            "total": step.total,
            "seconds": round(now - self.started, 1),
            "seconds_left": left,
        }
        if step.notes:
            line["notes"] = list(step.notes)
        figures = {k: v if math.isfinite(v) else None for k, v in step.figures.items()}
        self.write(line | {k: v for k, v in figures.items() if k not in line})

    def done(self, facts: dict[str, Any]) -> None:
        """Print the last line, with what came out."""
        self.write({"stage": "done", "seconds": round(time.monotonic() - self.started, 1), **facts})

    def close(self) -> None:
        """Nothing: every line is whole."""

    def write(self, line: dict[str, Any]) -> None:
        """Print and flush, so that a parent process sees the line at once."""
        click.echo(json.dumps(line, allow_nan=False), err=True)


def display(mode: str, quiet: bool) -> Display:
    """The display for --progress; -q silences all but JSON lines, which are kept if asked for."""
    if mode == "json":
        return Lines()
    if quiet:
        return Silence()
    return Bars() if mode == "bar" or (mode == "auto" and sys.stderr.isatty()) else Notes()


class Progress:
    """Drains a job while showing its steps; a context manager that tidies up behind it."""

    def __init__(self, ctx: click.Context, mode: str) -> None:
        self.display = display(mode, is_quiet(ctx))
        self.stage, self.since = "", time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.display.close()

    def follow(self, steps: Generator[Step, None, T]) -> T:
        """Run ``steps`` to the end and return its value; closes it if anything is raised."""
        with closing(steps):
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    self._enter("")
                    result: T = end.value
                    return result
                self._enter(step.stage)
                self.display.show(step)

    def loading(self) -> None:
        """Show that something happens during the seconds in which the libraries are imported."""
        self._enter("load")
        self.display.show(Step("load", 0, 1))

    def _enter(self, stage: str) -> None:
        """Log how long a stage took when another begins."""
        now = time.monotonic()
        if self.stage not in ("", stage):
            log.info("%s took %.2f s", self.stage, now - self.since)
        if self.stage != stage:
            self.stage, self.since = stage, now

    def done(self, **facts: Any) -> None:
        """Say that the job is finished; ``facts`` go into the last JSON line."""
        self.display.close()
        self.display.done(facts)


def draining(steps: Iterator[Step]) -> Generator[Step, None, None]:
    """A job that yields steps and returns nothing, for `Progress.follow`."""
    yield from steps
