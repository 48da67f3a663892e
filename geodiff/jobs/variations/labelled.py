"""Image folders with labels.csv, or a prepared data set -> labelled images that can be embedded."""

from __future__ import annotations

import csv
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import parse_crs
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, raster_grid
from geodiff.geo.provenance import source_name
from geodiff.geo.raster import Reference
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.embed import embed_steps
from geodiff.jobs.measures.quilts import embedded
from geodiff.models.bundle import Model
from geodiff.steps import drain

SUFFIXES = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".vrt", ".jp2")

LABELS = "labels.csv"
"""Name of the table that a folder of images may hold."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """One real image: a file, or a patch of a data set."""

    name: str  # unlike any other's; without suffix
    label: str  # empty where there is none
    source: str  # where it comes from, for the table
    grid: PixelGrid  # its pixels; with a CRS where it has one
    gsd: float | None  # metres per pixel; None: the model's
    pixels: NDArray[np.uint8] | None = None  # (row, col, band) of a patch; None: read the file
    place: PixelGrid | None = None  # where a patch lies, if its data set tells; None: ``grid``

    def embeddings(self, model: Model) -> EmbeddingGrid:
        """The embedding grid of the image, without holes."""
        if self.pixels is not None:
            image = np.ascontiguousarray(np.moveaxis(np.array(self.pixels), -1, 0))
            return embedded(model, self.grid, image)
        own = None if self.grid.crs is not None else self.gsd
        reference = Reference.open(self.source)
        return drain(embed_steps(model, reference, self.grid, gsd=own or None)).filled()

    def metres(self, model: Model) -> float:
        """Metres per pixel."""
        return self.grid.gsd or self.gsd or model.gsd


def find_images(
    sources: Sequence[str], labels: str | None, gsd: float | None, split: str = "train"
) -> list[Labelled]:
    """Images of files, folders, patterns, or of the patches of one split of prepared data sets.

    A table has a column ``label`` and a column ``path`` (relative to the table) or ``name`` (a file
    name, with or without suffix); a folder's own labels.csv is taken unless ``labels`` names one.
    Raises DataError without images, where a table does not fit them, or for rotated rasters.
    """
    found: list[Labelled] = []
    files: dict[Path, Path | None] = {}  # file -> the folder that it was found in
    for source in sources:
        folder = Path(source)
        if (folder / "patches.parquet").is_file():
            found += of_patches(PatchSet.open(folder), split)
        elif folder.is_dir():
            inside = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
            files |= dict.fromkeys(inside, folder)
        else:
            matches = sorted(Path(p) for p in glob.glob(source, recursive=True))
            files |= dict.fromkeys(matches or [folder], None)
    missing = [path for path in files if not path.exists()]
    if missing:
        raise DataError(f"there is no image, folder or pattern {missing[0]}")
    if labels is not None and not files:
        raise UsageError(f"--labels {labels} is for image files; a data set has its own labels")
    known = tables(files, labels)
    for path, home in files.items():
        inner = path.relative_to(home) if home else Path(path.name)
        name = "_".join(inner.with_suffix("").parts)
        found.append(Labelled(name, known.get(path, ""), str(path), raster_grid(path), gsd))
    if not found:
        raise DataError(f"no image found in {', '.join(sources)}")
    return unique(found)


def of_patches(patches: PatchSet, split: str) -> list[Labelled]:
    """Patches of one split of a data set, on pixel grids without a place."""
    rows = patches.split(split)
    places = patch_places(patches)
    labels = patches.table["label"].to_numpy()
    names = patches.table["name"].to_numpy()
    shape = patches.pixels.shape[1:3]
    return [
        Labelled(
            str(names[row]),
            labels[row] if isinstance(labels[row], str) else "",
            f"{patches.path.name}/{names[row]}",
            PixelGrid(GeoBox(shape, Affine.identity(), None), 0, 0),
            patches.gsd,
            patches.pixels[row],
            places.get(int(row)),
        )
        for row in rows
    ]


def patch_places(patches: PatchSet) -> dict[int, PixelGrid]:
    """Grids of the patches of which the table tells CRS, row and col on its lattice.

    Exact for patches cut on that lattice, to half a pixel for others. Those whose CRS is not true
    to scale (Web Mercator) are left out: the table holds metres on the ground, not its units.
    """
    table, shape = patches.table, patches.pixels.shape[1:3]
    if not {"crs", "row", "col"} <= set(table.columns):
        return {}
    found = {}
    facts = zip(table["crs"], table["row"], table["col"], table["gsd"], strict=True)
    for number, (crs, row, col, gsd) in enumerate(facts):
        if not isinstance(crs, str) or not all(isfinite(place) for place in (row, col)):
            continue
        top, left = int(row), int(col)
        affine = Affine(gsd, 0.0, left * gsd, 0.0, -gsd, -top * gsd)
        grid = PixelGrid(GeoBox(shape, affine, parse_crs(crs)), top, left)
        if grid.gsd is not None and abs(grid.gsd / gsd - 1) < 0.01:
            found[number] = grid
    return found


def isfinite(value: object) -> bool:
    """Whether a cell of a table holds a number."""
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def tables(files: dict[Path, Path | None], labels: str | None) -> dict[Path, str]:
    """Label of each file, from the table ``labels`` or those of its folders; none without a table.

    Raises DataError where a table names no image that was found, or not all of them.
    """
    if labels is not None:
        return matched(read_labels(Path(labels)), list(files), Path(labels))
    known: dict[Path, str] = {}
    for folder in dict.fromkeys(filter(None, files.values())):
        if (folder / LABELS).is_file():
            inside = [path for path, home in files.items() if home == folder]
            known |= matched(read_labels(folder / LABELS), inside, folder / LABELS)
    return known


def matched(table: dict[str, str], files: Sequence[Path], path: Path) -> dict[Path, str]:
    """The label of every file; DataError where one has none."""
    known = {}
    for file in files:
        inner = file.relative_to(path.parent) if file.is_relative_to(path.parent) else file
        for key in (inner.as_posix(), str(file), file.name, file.stem):
            if key in table:
                known[file] = table[key]
                break
    lost = [file for file in files if file not in known]
    if lost:
        example = next(iter(table), "nothing")
        raise DataError(
            f"{path} has no label for {len(lost)} of {len(files)} images, such as "
            f"{lost[0].name}; it names {example}: its column 'path' or 'name' should hold their "
            "paths or names"
        )
    return known


def read_labels(path: Path) -> dict[str, str]:
    """Labels by path and by name. Raises DataError for a table that cannot be read or does not do.

    A name that stands for several labels is refused.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the labels {path}: {error}") from error
    columns = set(rows[0]) if rows else set()
    if "label" not in columns or not columns & {"path", "name"}:
        raise DataError(
            f"{path} needs a column 'label' and a column 'path' or 'name'; its columns are "
            f"{', '.join(sorted(columns)) or 'none'}"
        )
    known: dict[str, str] = {}
    for row in rows:
        for column in ("path", "name"):
            key = row.get(column)
            if key and known.setdefault(key, row["label"] or "") != (row["label"] or ""):
                raise DataError(f"{path} gives {key} two labels: {known[key]}, {row['label']}")
    return known


def unique(images: list[Labelled]) -> list[Labelled]:
    """The images, sorted by name; DataError where two share one."""
    seen: dict[str, Labelled] = {}
    for image in images:
        other = seen.setdefault(image.name, image)
        if other is not image:
            raise DataError(
                f"{source_name(image.source)} and {source_name(other.source)} would both be called "
                f"{image.name}: rename one, or give the folder that holds both"
            )
    return [seen[name] for name in sorted(seen)]
