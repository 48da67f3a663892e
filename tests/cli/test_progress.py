"""Progress: JSON lines that parse, a bar that ends its line, a job that is closed on any error."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Generator

import click
import pytest

from geodiff.steps import Step
from geodiff_cli.errors import VERBOSE
from geodiff_cli.progress import Bars, Lines, Notes, Progress, Silence, display, draining

STEPS = [
    Step("load", 0, 1),
    Step("paint", 1, 3, {"loss": 0.5}),
    Step("paint", 2, 3, {"loss": math.nan}),
    Step("paint", 3, 3, {"loss": math.inf}),
]


def job(closed: list[bool]) -> Generator[Step, None, str]:
    """Yields STEPS and returns a word; notes that its clean-up ran."""
    try:
        yield from STEPS
    finally:
        closed.append(True)
    return "finished"


def progress(mode: str) -> Progress:
    return Progress(click.Context(click.Command("any")), mode)


def test_lines_parse_and_end_with_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("json") as shown:
        assert shown.follow(job([])) == "finished"
        shown.done(path="a.tif")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["stage"] for line in lines] == ["load", "paint", "paint", "done"]
    assert [line.get("done") for line in lines] == [0, 1, 3, None]  # 2 came too soon after 1
    assert [line["loss"] for line in lines if line["stage"] == "paint"] == [0.5, None]
    assert lines[2]["seconds_left"] == 0
    assert lines[-1]["path"] == "a.tif"
    assert all(line["seconds"] >= 0 for line in lines)


def test_a_step_is_not_printed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("json") as shown:
        shown.loading()  # before the libraries are there; then the job says so too
        shown.follow(job([]))
    stages = [json.loads(line)["stage"] for line in capsys.readouterr().err.splitlines()]
    assert stages.count("load") == 1


def test_a_figure_cannot_hide_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().show(Step("paint", 1, 2, {"stage": 7.0, "done": 9.0}))
    line = json.loads(capsys.readouterr().err)
    assert (line["stage"], line["done"]) == ("paint", 1)


def test_nothing_is_shown_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("auto") as shown:
        shown.follow(job([]))
    assert capsys.readouterr() == ("", "")


def test_bars_leave_a_whole_line_for_each_long_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("bar") as shown:
        shown.follow(job([]))
    line, rest = terminal.getvalue().split("\n")
    assert rest == ""  # stages of a single unit leave no line behind
    assert line.split("\r")[-1].startswith("paint: 100%")
    assert "load:   0%" in line


def test_quiet_turns_bars_off_but_keeps_asked_for_lines() -> None:
    assert isinstance(display("bar", quiet=True), Silence)
    assert isinstance(display("bar", quiet=False), Bars)
    assert isinstance(display("json", quiet=True), Lines)
    assert isinstance(display("none", quiet=False), Notes)
    assert isinstance(display("none", quiet=True), Silence)
    assert not isinstance(display("none", quiet=True), Notes)


NOTED = [
    Step("load", 0, 1),
    Step("plan", 1, 1, notes=("it is large", "it is far away")),
    Step("paint", 1, 9),
    Step("paint", 2, 9, notes=("it is late",)),
    Step("paint", 9, 9),
]


def noted() -> Generator[Step, None, None]:
    yield from NOTED


@pytest.mark.parametrize("mode", ["none", "auto"])
def test_notes_are_printed_once_also_without_a_bar(
    mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(mode) as shown:
        for step in NOTED:
            before = capsys.readouterr().err
            assert not before
            shown.display.show(step)
            told = capsys.readouterr().err  # as soon as the step comes
            assert told == "".join(f"Note: {note}\n" for note in step.notes)
        shown.done()
    assert capsys.readouterr() == ("", "")


def test_quiet_prints_no_notes(capsys: pytest.CaptureFixture[str]) -> None:
    ctx = click.Context(click.Command("any"))
    ctx.meta[VERBOSE] = -1
    with Progress(ctx, "bar") as shown:
        shown.follow(noted())
    assert capsys.readouterr() == ("", "")


def test_notes_are_in_json_lines_and_never_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("json") as shown:
        shown.follow(noted())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["stage"], line["done"], line["notes"]) for line in lines if "notes" in line]
    assert told == [("plan", 1, ["it is large", "it is far away"]), ("paint", 2, ["it is late"])]


def test_notes_stand_on_whole_lines_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("bar") as shown:
        shown.follow(noted())
    lines = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
    *notes, bar, rest = lines
    assert notes == ["Note: it is large", "Note: it is far away", "Note: it is late"]
    assert bar.startswith("paint: 100%")
    assert rest == ""


def test_stages_are_timed_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "geodiff_cli"), progress("none") as shown:
        shown.loading()
        shown.follow(noted())
    told = [record.message.split(" took ") for record in caplog.records]
    assert [stage for stage, _ in told] == ["load", "plan", "paint"]
    assert all(float(time.removesuffix(" s")) >= 0 for _, time in told)


class Interrupting(Silence):
    """A display during which the user presses Ctrl-C."""

    def show(self, step: Step) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_between_steps_closes_the_job() -> None:
    closed: list[bool] = []
    shown = progress("none")
    shown.display = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        shown.follow(job(closed))
    assert closed == [True]


def test_an_interrupt_closes_a_job_that_returns_nothing() -> None:
    closed: list[bool] = []
    shown = progress("none")
    shown.display = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        shown.follow(draining(job(closed)))
    assert closed == [True]
