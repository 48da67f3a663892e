"""Parts let the same mosaic go on, refuse another one, and never trust a damaged file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geodiff.errors import OutputError, UsageError
from geodiff.geo.grid import PixelGrid, box_grid
from geodiff.geo.journal import folder_of, journal_of, publishing, read_journal, unfinished
from geodiff.geo.parts import Parts
from geodiff.geo.provenance import Provenance
from geodiff.steps import Step
from geodiff.window import Window

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FACTS: dict[str, Any] = {"seed": 0, "window": (1, 2, 3, 4), "charts": 3}
UTM = "EPSG:32611"
GRID: PixelGrid = box_grid((500_000, 4_000_000, 500_030, 4_000_012), UTM, UTM, 0.5)


def windows() -> list[Window]:
    """Three windows side by side that fill the grid of 24 x 60 pixels."""
    whole = GRID.window
    return [Window(whole.row, whole.col + left, whole.height, 20) for left in (0, 20, 40)]


def pixels(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(1, 256, (3, 24, 20), dtype=np.uint8)


def open_parts(out: Path, begun: datetime = BEGUN, restart: bool = False, **facts: Any) -> Parts:
    return Parts(out, GRID, FACTS | facts, begun, restart)


def stopped_after(out: Path, count: int, **facts: Any) -> None:
    """What a killed run leaves: so many finished parts."""
    with open_parts(out, **facts) as parts:
        for number, window in enumerate(windows()[:count]):
            with parts.part(str(number), window) as raster:
                raster.write(window, pixels(number))


def left(out: Path) -> set[str]:
    return {path.name for path in out.parent.iterdir()}


def test_the_same_mosaic_goes_on_with_its_parts_and_its_time(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, 2)
    assert unfinished(out) == (2, 3)
    with open_parts(out, datetime.now(UTC)) as parts:
        assert set(parts.done) == {"0", "1"}
        assert parts.begun == BEGUN
        parts.remove()
    assert left(out) == set()
    assert unfinished(out) is None


def test_the_parts_make_the_whole_with_its_papers(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, 2)
    provenance = Provenance("m", "h", 0, "a <&> b", "balanced", 16, 3.0, credit="x & 'y'")
    with open_parts(out) as parts:
        with parts.part("2", windows()[2]) as raster:
            raster.write(windows()[2], pixels(2))
        with rasterio.open(parts.assemble(provenance)) as made:
            assert np.array_equal(made.read(), np.concatenate([pixels(n) for n in range(3)], 2))
            assert made.transform == GRID.geobox.affine
            assert made.crs == "EPSG:32611"
            assert made.tags() == provenance.tags()
            assert "trainedAlgorithmicMedia" in str(made.tags(ns="xml:XMP"))
            mean = float(made.tags(2)["STATISTICS_MEAN"])
            assert mean == pytest.approx(made.read(2).mean(), rel=1e-12)
            assert made.descriptions == ("red", "green", "blue")


def test_nothing_stays_of_a_run_without_a_finished_part(tmp_path: Path) -> None:
    stopped_after(tmp_path / "a.tif", 0)
    with (
        pytest.raises(RuntimeError),
        open_parts(tmp_path / "a.tif") as parts,
        parts.part("0", windows()[0]),
    ):
        raise RuntimeError
    assert left(tmp_path / "a.tif") == set()


def test_another_mosaic_is_refused_by_name_and_value_or_begun_anew(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, 1)
    with pytest.raises(UsageError, match=r"\(seed 0, now 7\): give --restart"):
        stopped_after(out, 0, seed=7)
    assert unfinished(out) == (1, 3)  # the former one is untouched
    with open_parts(out, restart=True, seed=7) as parts:
        assert parts.done == {}
        assert {path.name for path in folder_of(out).iterdir()} == {"journal.jsonl"}


def test_a_run_without_a_finished_part_does_not_stand_in_the_way(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    with open_parts(out):
        journal = journal_of(out).read_bytes()
    folder_of(out).mkdir()  # as after a kill before the first part
    journal_of(out).write_bytes(journal)
    with open_parts(out, seed=7) as parts:
        assert parts.done == {}


def test_a_line_cut_short_is_forgotten(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, 2)
    path = journal_of(out)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        found = read_journal(out)
        assert found is None or set(found.parts) in (set(), {"0"}, {"0", "1"})
    path.write_bytes(whole[: len(whole) - 5])
    with open_parts(out) as parts:
        assert set(parts.done) == {"0"}
        with parts.part("1", windows()[1]) as raster:
            raster.write(windows()[1], pixels(1))
        entries = read_journal(out)
        assert entries is not None
        assert set(entries.parts) == {"0", "1"}


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_part_is_painted_again(tmp_path: Path, damage: str) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, 2)
    part = folder_of(out) / "1.tif"
    if damage == "missing":
        part.unlink()
    elif damage == "cut":
        part.write_bytes(part.read_bytes()[:-100])
    else:
        with rasterio.open(part, "r+") as dataset:
            dataset.write(pixels(9))
    with open_parts(out) as parts:
        steps = list(parts.review())
        known = 1 if damage == "missing" else 2  # what is not there need not be read
        assert steps == [Step("review", number, known) for number in range(1, known + 1)]
        assert set(parts.done) == {"0"}
        assert {path.name for path in folder_of(out).iterdir()} == {"0.tif", "journal.jsonl"}
    entries = read_journal(out)
    assert entries is not None
    assert set(entries.parts) == {"0"}


def test_a_stop_in_the_middle_of_a_review_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, 3)
    (folder_of(out) / "0.tif").write_bytes(b"damaged")
    with open_parts(out) as parts:
        next(iter(parts.review()))
    with open_parts(out) as parts:
        list(parts.review())
        assert set(parts.done) == {"1", "2"}


def test_left_overs_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    stopped_after(out, 1)
    (folder_of(out) / "mosaic.cog.tif").write_bytes(b"half")
    with open_parts(out):
        assert {path.name for path in folder_of(out).iterdir()} == {"0.tif", "journal.jsonl"}


def test_two_runs_never_paint_one_file(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    with (
        open_parts(out),
        pytest.raises(OutputError, match="another run is writing"),
        open_parts(out),
    ):
        pass
    assert left(out) == set()


def test_only_a_run_stopped_at_the_end_owns_the_name(tmp_path: Path) -> None:
    out = tmp_path / "a.tif"
    assert not publishing(out)
    stopped_after(out, 1)
    assert not publishing(out)
    with open_parts(out) as parts:
        parts.publish()
    assert publishing(out)
    with open_parts(out) as parts:
        assert parts.published
    with open_parts(out, restart=True) as parts:
        assert not parts.published
