"""The record of a run: a table that goes on where the run does, and pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from geodiff.errors import OutputError
from geodiff.jobs.training.figures import Figures
from geodiff.jobs.training.sheets import sheet, shrunk, write_png
from tests.jobs.rasters import read_raster


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_figures_are_lines_and_new_ones_widen_the_table(tmp_path: Path) -> None:
    record = Figures(tmp_path, 0)
    record.log(1, "train", {"loss": 0.5})
    record.log(2, "validate", {"val_loss": 0.25})
    record.log(3, "train", {"loss": float("nan")})
    assert rows(tmp_path) == [
        {"step": "1", "stage": "train", "loss": "0.5", "val_loss": ""},
        {"step": "2", "stage": "validate", "loss": "", "val_loss": "0.25"},
        {"step": "3", "stage": "train", "loss": "nan", "val_loss": ""},
    ]
    record.close()


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    record = Figures(tmp_path, 0)
    for step in range(1, 6):
        record.log(step, "train", {"loss": step})
    record.close()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("6,tr")  # killed in the middle of a line
    record = Figures(tmp_path, 3)
    record.log(4, "train", {"loss": 40})
    record.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [
        ("1", "1"), ("2", "2"), ("3", "3"), ("4", "40"),
    ]  # fmt: skip


def test_pictures_are_png_sheets(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    record = Figures(tmp_path, 0)
    record.picture(12, "codec", image)
    record.close()
    stored = read_raster(tmp_path / "samples" / "codec-0000012.png")
    assert np.array_equal(np.moveaxis(stored, 0, -1), image)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["codec-0000012.png"]


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = Figures(tmp_path, 0)
    record.log(1, "train", {"loss": 0.5, "odd": float("inf")})
    record.log(2, "train", {"loss": 0.25})
    record.picture(2, "codec", np.zeros((4, 4, 3), np.uint8))
    record.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    assert events.Tags()["images"] == ["codec"]
    assert events.Tags()["scalars"] == ["train/loss"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        Figures(tmp_path / "run", 0)
    with pytest.raises(OutputError, match="cannot write"):
        write_png(tmp_path / "run" / "a.png", np.zeros((2, 2, 3), np.uint8))


def test_sheets_hold_every_picture_in_reading_order() -> None:
    pictures = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    image = sheet(pictures, columns=2)
    assert image.shape == (4 + 2 + 4, 6 + 2 + 6, 3)
    assert [image[0, 0, 0], image[0, 8, 0], image[6, 0, 0], image[6, 8, 0]] == [10, 20, 30, 255]
    assert sheet(pictures[:1], columns=8).shape == (4, 6, 3)


def test_shrinking_averages_whole_pixels() -> None:
    picture = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    small = shrunk(picture, 6)
    assert small.shape == (4, 6, 3)
    assert small[0, 0, 0] == round(float(picture[:2, :2, 0].mean()))
    assert shrunk(picture, 12) is picture
