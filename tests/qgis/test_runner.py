"""The child process: what is heard, how it ends, and what it leaves. No QGIS needed."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from geodiff_qgis.events import Event, Progress, duration, parse
from geodiff_qgis.runner import Cancelled, Run, RunError, stop_all

FAKE = [sys.executable, str(Path(__file__).with_name("fake_geodiff.py"))]


class Child:
    """A run of the fake that writes ``a.tif`` in a folder of its own."""

    def __init__(self, folder: Path, mode: str, grace: float = 5.0) -> None:
        self.folder, self.out = folder, folder / "a.tif"
        told = {**os.environ, "FAKE_GEODIFF": mode, "PROJ_LIB": "/qgis", "VIRTUAL_ENV": "/v"}
        words = ["synthesize", f"--out={self.out}", "--json", "--progress=json"]
        self.run = Run([*FAKE, *words], str(self.out), told, grace)

    def listen(self) -> list[Event]:
        """Everything that is heard."""
        with closing(self.run.events()) as events:
            return [event for event in events if event is not None]

    def cancel_when_painting(self) -> list[str]:
        """Cancel at the first window; the notes that were heard until then."""
        notes: list[str] = []
        try:
            with closing(self.run.events()) as events:
                for event in events:
                    if event is not None and event.stage == "paint" and event.total == 4:
                        notes += event.notes
                        self.run.cancel()
        except Cancelled:
            return notes
        pytest.fail("the run was not cancelled")

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


def alive(number: int) -> bool:
    with suppress(OSError):
        os.kill(number, 0)
        status = Path(f"/proc/{number}/stat")
        return not status.exists() or status.read_text().rsplit(")")[-1].split()[0] != "Z"
    return False


def gone(number: int) -> bool:
    for _ in range(50):
        if not alive(number):
            return True
        time.sleep(0.1)
    return False


def test_a_run_tells_its_progress_and_gives_what_was_printed(tmp_path: Path) -> None:
    child = Child(tmp_path, "ok")
    heard = child.listen()
    assert [event.stage for event in heard] == ["load", "plan", "paint", "paint", "write", "done"]
    assert heard[1].notes == ("the source covers 80.0%",)
    assert child.run.result["path"] == str(child.out)
    assert child.files == {"a.tif", "a.json"}
    assert child.run.ended.is_set()


def test_the_child_gets_nothing_of_what_qgis_sets_for_itself(tmp_path: Path) -> None:
    child = Child(tmp_path, "ok")
    child.listen()
    names = child.run.result["environment"]
    assert "FAKE_GEODIFF" in names
    assert not {"PROJ_LIB", "VIRTUAL_ENV"} & set(names)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("dies", r"cannot write a\.tif: the disk is full"),
        ("killed", "out of memory"),
        ("garbage", "did not answer as geodiff does"),
        ("forgets", "says that it is done, but there is no"),
        ("orphan", "the worker is lost"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(
    mode: str, reason: str, tmp_path: Path
) -> None:
    child = Child(tmp_path, mode)
    began = time.monotonic()
    with pytest.raises(RunError, match=reason) as caught:
        child.listen()
    assert "\n" not in str(caught.value)
    assert child.files == set()
    assert time.monotonic() - began < 15  # also where an orphan holds the pipe for 20 s


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    run = Run([str(tmp_path / "none"), "info"])
    with pytest.raises(RunError, match="does not start"):
        list(run.events())


def test_cancel_is_polite_first(tmp_path: Path) -> None:
    child = Child(tmp_path, "hangs", grace=30)
    child.cancel_when_painting()
    assert child.run.said[-1].startswith("Error: interrupted")
    assert child.files == set()


def test_a_child_that_does_not_listen_is_killed_with_all_its_own(tmp_path: Path) -> None:
    child = Child(tmp_path, "ignores", grace=0.5)
    (note,) = child.cancel_when_painting()
    assert gone(int(note.split()[1]))
    assert child.files == set()


def test_leaving_early_kills_the_child(tmp_path: Path) -> None:
    child = Child(tmp_path, "hangs")
    with closing(child.run.events()) as events:
        for event in events:
            if event is not None and event.stage == "paint":
                break
    assert child.run._process is not None
    assert gone(child.run._process.pid)
    assert child.files == set()


def test_cancelled_before_it_begins(tmp_path: Path) -> None:
    child = Child(tmp_path, "ok")
    child.run.cancel()
    with pytest.raises(Cancelled):
        child.listen()
    assert child.files == set()


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    for name in ("a.tif", "a.json", "b.tif", ".a.tif.other"):
        (tmp_path / name).write_text("mine")
    child = Child(tmp_path, "dies")
    with pytest.raises(RunError):
        child.listen()
    assert child.files == {"a.tif", "a.json", "b.tif", ".a.tif.other"}
    assert (tmp_path / "a.tif").read_text() == "mine"


def test_finished_charts_stay_if_asked(tmp_path: Path) -> None:
    child = Child(tmp_path, "ignores", grace=0.2)
    child.run.keep_charts = True
    child.cancel_when_painting()
    assert child.files == {".a.tif.geodiff"}


def test_stop_all_waits_until_nothing_is_left(tmp_path: Path) -> None:
    child = Child(tmp_path, "ignores", grace=0.3)
    painting = threading.Event()

    def listen() -> None:
        with suppress(Cancelled), closing(child.run.events()) as events:
            for event in events:
                if event is not None and event.stage == "paint":
                    painting.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert painting.wait(20)
    stop_all(timeout=10)
    assert child.files == set()
    thread.join(10)
    assert not thread.is_alive()


def test_lines_that_are_no_progress_are_words() -> None:
    assert parse("Note: hello\n") == Event(text="Note: hello")
    assert parse("{broken").text == "{broken"
    assert parse('{"a": 1}').text == '{"a": 1}'
    odd = parse('{"stage": "paint", "done": null, "total": "x", "seconds_left": null}')
    assert (odd.stage, odd.done, odd.total, odd.seconds_left) == ("paint", 0, 0, None)


def test_the_percentage_never_falls_and_ends_at_100() -> None:
    progress = Progress()
    events = [
        Event("load", 1, 1), Event("paint", 1, 4), Event("paint", 4, 4), Event("review", 1, 1),
        Event("unknown", 1, 2), Event("decode", 0, 0), Event("write", 50, 100), Event("done"),
    ]  # fmt: skip
    seen = [progress.after(event) for event in events]
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[1] < seen[2]
    assert seen[-1] == 100


def test_durations() -> None:
    told = [duration(s) for s in (0.2, 90, 600, 9000, 400000)]
    assert told == ["1 s", "90 s", "10 min", "2.5 h", "5 days"]
