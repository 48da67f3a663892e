"""Figures and pictures of a training run: a CSV file always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodiff.errors import OutputError
from geodiff.geo.writing import WRITE_ERRORS
from geodiff.jobs.training.checkpoint import run_failure
from geodiff.jobs.training.sheets import write_png

FILE = "metrics.csv"
"""Name of the table in a run's folder: one line whenever figures are told."""


class Figures:
    """The record of a run, from ``step`` on: what an abandoned run wrote later is dropped.

    Columns are step, stage and whatever figures came; a new one widens the table. Raises
    OutputError where the disk is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / FILE
        self.columns = ["step", "stage"]
        rows: list[dict[str, str]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                with self.path.open(newline="", encoding="utf-8") as file:
                    reader = csv.DictReader(file)
                    rows = [row for row in reader if before(row.get("step"), step)]
                    self.columns = list(reader.fieldnames or self.columns)
            self._rewrite(rows)
        except WRITE_ERRORS as error:
            raise run_failure(self.path, error) from error
        self.board = open_board(folder, step)

    def log(self, step: int, stage: str, figures: Mapping[str, float]) -> None:
        """One line of figures."""
        row = {"step": str(step), "stage": stage}
        row |= {name: f"{value:.6g}" for name, value in figures.items()}
        try:
            new = [name for name in row if name not in self.columns]
            if new:
                with self.path.open(newline="", encoding="utf-8") as file:
                    rows = list(csv.DictReader(file))
                self.columns += new
                self._rewrite(rows)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)
        except WRITE_ERRORS as error:
            raise run_failure(self.path, error) from error
        if self.board is not None:
            for name, value in figures.items():
                if math.isfinite(value):
                    self.board.add_scalar(f"{stage}/{name}", value, step)
            self.board.flush()

    def picture(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A sheet (row, col, 3) as samples/NAME-STEP.png."""
        path = self.path.parent / "samples" / f"{name}-{step:07d}.png"
        try:
            write_png(path, image)
        except OutputError as error:
            raise run_failure(path, error.__cause__ or error) from error
        if self.board is not None:
            self.board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Nothing more will come."""
        if self.board is not None:
            self.board.close()

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.path)


def before(text: str | None, step: int) -> bool:
    """Whether a line is of a step up to ``step``; a line that was cut off is not."""
    return text is not None and text.isdecimal() and int(text) <= step


def open_board(folder: Path, step: int) -> Any:
    """TensorBoard's writer of event files, or None where the package is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    purge = step + 1 if step else None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
