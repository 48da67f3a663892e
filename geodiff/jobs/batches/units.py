"""What a batch makes: one unit for each item or cell and each variant, named once and for all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import box as box_of

from geodiff.errors import DataError
from geodiff.geo.boxes import DEGREES, Box, check_box, parse_crs, project_box
from geodiff.geo.names import safe_names
from geodiff.geo.provenance import clean_href, plain
from geodiff.geo.search import Found
from geodiff.geo.stac_items import Unusable
from geodiff.geo.survey import Survey, survey, survey_file
from geodiff.geo.vector import check_frame, listed, open_frame, polygons_of
from geodiff.jobs.batches.request import BatchRequest

LONGEST_REASON = 400
"""Characters of the reason why a unit is not made."""


@dataclass(frozen=True)
class Unit:
    """One mosaic to make. It says all that tells its pixels from those of other units."""

    name: str  # of its files, and its id
    source: str  # the id of its item, or the name of its cell, as others wrote it
    variant: int  # from 1
    seed: int
    found: Found | None = None  # the item that it goes by
    clip: Box | None = None  # degrees at which the item's ground is cut; None: all of it
    cell: tuple[Box, str] | None = None  # bounds of the cell, and their CRS

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-ready: which source, which part of it, which variant."""
        own: dict[str, Any] = {"source": plain(self.source), "variant": self.variant}
        if self.found is not None:
            hrefs = list(map(clean_href, self.found.hrefs))
            return own | {"collection": plain(self.found.collection), "hrefs": hrefs,
                          "clip": None if self.clip is None else list(self.clip)}  # fmt: skip
        assert self.cell is not None  # a unit is of an item or of a cell
        return own | {"cell": list(self.cell[0]), "cell_crs": self.cell[1]}


@dataclass(frozen=True)
class Units:
    """All units of a batch in their order, and what cannot become one."""

    units: tuple[Unit, ...]
    unusable: tuple[Unusable, ...]
    notes: tuple[str, ...] = ()


def find_units(request: BatchRequest) -> Units:
    """Ask the catalogue, or read the file, that the request names.

    Raises UsageError for a box that is none, and DataError where there is nothing to make.
    """
    if request.bbox is not None:
        check_box(request.bbox, parse_crs(DEGREES))
    if request.way == "cell":
        return of_cells(request)
    catalogue = request.catalogue
    assert catalogue is not None  # BatchRequest refuses requests without one
    if request.items is not None:
        return of_items(request, survey_file(request.items, catalogue.search(request.bbox)))
    return of_items(request, survey(catalogue.search(request.bbox)))


def of_items(request: BatchRequest, known: Survey) -> Units:
    """The units of items: those whose ground meets the box. Raises DataError where none does."""
    frame = None if request.bbox is None else box_of(*request.bbox)
    found = [
        one
        for one in known.found
        if frame is None or one.footprint is None or touches(frame, one.footprint)
    ]
    notes = []
    if outside := len(known.found) - len(found):
        notes.append(f"{outside} items that were found do not reach into the box: left out")
    if not found and not known.unusable:
        raise DataError(
            f"none of {outside} items that were found reaches into the box: check --bbox"
        )
    ids = Counter(one.name for one in found)
    texts = [one.name if ids[one.name] == 1 else f"{one.collection}/{one.name}" for one in found]
    names = named(texts, request.variants)
    units = [
        Unit(name, one.name, variant, seed_of(request.seed, variant), one, cut(one, request.bbox))
        for one, own in zip(found, names, strict=True)
        for variant, name in enumerate(own, start=1)
    ]
    return Units(tuple(units), known.unusable, tuple(notes))


def of_cells(request: BatchRequest) -> Units:
    """The units of the cells of a vector file: those that meet the box.

    Raises UsageError for a layer or an attribute that is not there, DataError for what cannot be
    read or placed.
    """
    assert request.cells is not None  # BatchRequest refuses requests without
    path = Path(request.cells)
    if not path.exists():
        raise DataError(f"{path} does not exist: check --cells")
    frame = open_frame(str(path), path.name, request.layer)
    crs = check_frame(frame, path.name)
    authority = crs.proj.to_authority(min_confidence=100)
    place = ":".join(authority) if authority else str(crs)
    shapes, notes = polygons_of(frame, path.name)
    texts = cell_names(frame, path.name, request.cell_id)
    wanted = None if request.bbox is None else project_box(request.bbox, parse_crs(DEGREES), crs)
    rows = [
        row
        for row, shape in enumerate(shapes)
        if shape is not None and (wanted is None or touches(box_of(*wanted), shape))
    ]
    if not rows:
        raise DataError(f"no cell of {path.name} meets the box: check --bbox")
    chosen = [texts[row] for row in rows]
    twice = {text for text, count in Counter(chosen).items() if count > 1}
    labels = [f"{texts[row]}/{row}" if texts[row] in twice else texts[row] for row in rows]
    units = [
        Unit(name, text, variant, seed_of(request.seed, variant),
             cell=(bounds(shapes[row]), place))
        for row, text, own in zip(rows, chosen, named(labels, request.variants), strict=True)
        for variant, name in enumerate(own, start=1)
    ]  # fmt: skip
    return Units(tuple(units), (), tuple(notes))


def cell_names(frame: Any, file: str, attribute: str | None) -> list[str]:
    """What the cells are called: by an attribute, else ``cell-1`` and so on in the file's order."""
    if attribute is None:
        return [f"cell-{row}" for row in range(1, len(frame) + 1)]
    if attribute not in frame.columns or attribute == frame.geometry.name:
        others = [str(column) for column in frame.columns if column != frame.geometry.name]
        raise DataError(f"--cell-id {attribute} is not in {file}: it has {listed(others)}")
    return [str(value) for value in frame[attribute]]


def named(texts: Sequence[str], variants: int) -> list[list[str]]:
    """File names for every text and variant; the first variant bears the plain name.

    They are safe whatever the texts are, and no two are the same.
    """
    flat = [text if n == 1 else f"{text}-v{n}" for text in texts for n in range(1, variants + 1)]
    names = safe_names(flat)
    return [names[first : first + variants] for first in range(0, len(names), variants)]


def seed_of(seed: int, variant: int) -> int:
    """The seed of a variant: the first has ``seed`` itself, any other one that follows from both.

    It does not depend on the unit, so that variant by variant neighbours have one noise.
    """
    if variant == 1:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}, variant {variant}".encode()).digest()[:8]) >> 1


def cut(found: Found, frame: Box | None) -> Box | None:
    """The box at which an item is cut; None where it lies wholly inside, or there is no box."""
    if frame is None or (found.footprint is not None and box_of(*frame).covers(found.footprint)):
        return None
    return frame


def touches(frame: Any, shape: Any) -> bool:
    """Whether they have an area in common."""
    return bool(shapely.intersection(frame, shape).area > 0)


def bounds(shape: Any) -> Box:
    """Left, bottom, right, top of a polygon."""
    left, bottom, right, top = (float(edge) for edge in shape.bounds)
    return left, bottom, right, top


def one_line(error: BaseException) -> str:
    """What went wrong, as the report has it."""
    told = str(error) if str(error) else type(error).__name__
    return plain(" ".join(told.split()))[:LONGEST_REASON]
