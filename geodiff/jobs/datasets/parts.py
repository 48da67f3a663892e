"""Patches of each source on disk while a set is being prepared, so that a stopped run goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geodiff.geo.writing import WRITE_ERRORS, write_failure
from geodiff.jobs.datasets.likeness import Likeness, likeness
from geodiff.jobs.datasets.scenes import Cut, Pixels, Scene, Source, open_scene
from geodiff.window import Window

FOLDER = ".prepare"
"""Where parts lie in the folder of the set, until it is complete."""

WHOLE = 2**25
"""Pixels up to which a scene is read in one piece; larger ones row of patches by row of patches."""

FLAT = 0.5
"""Share of a patch that may be pure black or white before it counts as blank."""


@dataclass(frozen=True)
class Part:
    """What came out of one source: rows of facts, and pixels in a file beside them."""

    rows: list[dict[str, Any]]
    skipped: dict[str, int]
    file: Path

    def pixels(self, patch: int) -> NDArray[np.uint8]:
        """uint8 (patch, height, width, 3), memory-mapped."""
        if not self.rows:
            return np.empty((0, patch, patch, 3), np.uint8)
        return np.memmap(self.file, np.uint8, "r", shape=(len(self.rows), patch, patch, 3))

    def likenesses(self) -> Iterator[Likeness]:
        """What each patch is recognised by."""
        for row in self.rows:
            thumbnail = np.frombuffer(base64.b64decode(row["thumbnail"]), np.int8)
            yield Likeness(row["digest"], int(row["signs"], 16), thumbnail, row["shade"])


@dataclass(frozen=True)
class Workshop:
    """Cuts sources into parts; one that is there already is not cut again."""

    folder: Path
    cut: Cut
    stride: int

    def part(self, source: Source) -> Part:
        """The part of a source, cut now unless an earlier run did.

        Raises DataError and UsageError as `open_scene`, OutputError where the disk is full.
        """
        rows, pixels = self._files(source)
        if not rows.exists():
            scene = open_scene(source, self.cut)
            try:
                self._write(source, scene, rows, pixels)
            except WRITE_ERRORS as error:
                raise write_failure(self.folder.parent, error) from error
        stored = json.loads(rows.read_text(encoding="utf-8"))
        return Part(stored["rows"], stored["skipped"], pixels)

    def clear(self) -> None:
        """Remove all parts, and the set's folder if nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        parent = self.folder.parent
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()

    def _files(self, source: Source) -> tuple[Path, Path]:
        """Names that change with the file's size and date, and with how it is cut."""
        facts: list[Any] = [asdict(self.cut), self.stride, source.hrefs, source.bands, source.clip]
        if source.path is not None and source.path.exists():
            state = source.path.stat()
            facts += [state.st_size, state.st_mtime_ns]
        digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=12).hexdigest()
        return self.folder / f"{digest}.json", self.folder / f"{digest}.bin"

    def _write(self, source: Source, scene: Scene, rows: Path, pixels: Path) -> None:
        """Pixels first, then rows, in one step: rows that are there belong to whole pixels."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts: list[dict[str, Any]] = []
        skipped: dict[str, int] = {}
        with pixels.open("wb") as file:
            for row, col, patch in patches(scene, self.cut.patch, self.stride, skipped):
                file.write(patch.tobytes())
                facts.append(self._facts(source, scene, row, col, likeness(patch)))
        temporary = rows.with_suffix(".tmp")
        temporary.write_text(json.dumps({"rows": facts, "skipped": skipped}), encoding="utf-8")
        os.replace(temporary, rows)

    def _facts(
        self, source: Source, scene: Scene, row: int, col: int, picture: Likeness
    ) -> dict[str, Any]:
        outline = scene.footprint(row, col, self.cut.patch)
        block = None
        if scene.side is not None:
            block = f"{scene.crs_name}_{row // scene.side}_{col // scene.side}"
        place = scene.lattice(row, col)
        return {
            "name": f"{source.name}_{row}_{col}",
            "block": block,
            "gsd": scene.gsd,
            "crs": scene.crs_name,
            "row": place[0] if place else None,
            "col": place[1] if place else None,
            "outline": None if outline is None else outline.wkb_hex,
            "digest": picture.digest,
            "signs": f"{picture.signs:x}",
            "thumbnail": base64.b64encode(picture.thumbnail.tobytes()).decode(),
            "shade": picture.shade,
        }


def patches(
    scene: Scene, size: int, stride: int, skipped: dict[str, int]
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Whole patches (row, col, uint8 (size, size, 3)); counts those left out in ``skipped``."""
    window = scene.window
    whole: Pixels | None = None
    if not any(cols for _, cols in scene.corners(size, stride)):
        skipped["small"] = 1  # sources without room for a patch
        return
    if window.height * window.width <= WHOLE:
        whole = scene.read(window)
    for row, cols in scene.corners(size, stride):
        if not cols:
            continue
        band = Window(row, cols[0], size, cols[-1] + size - cols[0])
        if whole is None:
            image, valid = scene.read(band)
        else:
            down, across = band.within(window)
            image, valid = whole[0][:, down, across], whole[1][down, across]
        for col in cols:
            at = np.s_[col - band.col : col - band.col + size]
            if not valid[:, at].all():
                skipped["nodata"] = skipped.get("nodata", 0) + 1
                continue
            patch = np.ascontiguousarray(np.moveaxis(image[:, :, at], 0, -1))
            if blank(patch):
                skipped["blank"] = skipped.get("blank", 0) + 1
                continue
            yield row, col, patch


def blank(patch: NDArray[np.uint8]) -> bool:
    """Whether there is nothing to see: one colour, or mostly pure black or white fill."""
    if (patch == patch[0, 0]).all():
        return True
    low, high = patch.max(axis=-1) == 0, patch.min(axis=-1) == 255
    return bool(max(low.mean(), high.mean()) > FLAT)
