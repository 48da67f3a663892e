"""A journal lets the same mosaic go on, refuses another one, and never holds half a line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from geodiff.errors import OutputError, UsageError
from geodiff.geo.journal import PUBLISH, Journal, journal_path, publishing, read, unfinished

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FACTS: dict[str, Any] = {"seed": 0, "window": (1, 2, 3, 4), "charts": 3}


def stopped_after(out: Path, *charts: str, facts: dict[str, Any] | None = None) -> None:
    """What a killed run leaves: a journal of these charts, and a working file."""
    with Journal(out, FACTS if facts is None else facts, BEGUN) as journal:
        journal.working.write_bytes(b"pixels")
        for chart in charts:
            journal.add(chart)


def left(out: Path) -> set[str]:
    return {path.name for path in out.parent.iterdir()}


def test_the_same_mosaic_goes_on_with_its_charts_and_its_time(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, "0,0", "0,8")
    assert unfinished(out) == (2, 3)
    with Journal(out, FACTS, datetime.now(UTC)) as journal:
        assert journal.done == {"0,0", "0,8"}
        assert journal.begun == BEGUN
        assert journal.working.read_bytes() == b"pixels"
        journal.remove()
    assert left(out) == set()
    assert unfinished(out) is None


def test_nothing_stays_of_a_run_without_a_finished_chart(tmp_path: Path) -> None:
    stopped_after(tmp_path / "a.tif")
    assert left(tmp_path / "a.tif") == set()


def test_another_mosaic_is_refused_by_name_and_value_or_begun_anew(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, "0,0")
    with pytest.raises(UsageError, match=r"\(seed 0, now 7\): give --restart"):
        stopped_after(out, facts=FACTS | {"seed": 7})
    assert unfinished(out) == (1, 3)  # the former one is untouched
    with Journal(out, FACTS | {"seed": 7}, BEGUN, restart=True) as journal:
        assert journal.done == set()
        assert not journal.working.exists()


def test_a_line_cut_short_is_forgotten(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, "0,0", "0,8")
    path = journal_path(out)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        found = read(path)
        charts = () if found is None else found.charts
        assert charts in ((), ("0,0",), ("0,0", "0,8"))
    with Journal(out, FACTS, BEGUN) as journal:
        journal.add("8,0")
        entries = read(path)
        assert entries is not None
        assert set(entries.charts) == journal.done == {"0,0", "0,8", "8,0"}


def test_without_its_working_file_a_journal_is_void(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, "0,0")
    with Journal(out, FACTS, BEGUN) as journal:
        journal.working.unlink()
        journal.add("0,8")
    with Journal(out, FACTS, BEGUN) as journal:
        assert journal.done == set()


def test_two_runs_never_paint_one_file(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    with (
        Journal(out, FACTS, BEGUN),
        pytest.raises(OutputError, match="another run is writing"),
        Journal(out, FACTS, BEGUN),
    ):
        pass
    assert left(out) == set()


def test_only_a_run_stopped_at_the_end_owns_the_name(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    assert not publishing(out)
    stopped_after(out, "0,0")
    assert not publishing(out)
    stopped_after(out, "0,8", "8,0", PUBLISH)
    assert publishing(out)
    assert unfinished(out) == (3, 3)
