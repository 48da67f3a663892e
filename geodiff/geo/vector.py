"""Polygons with words from a vector file: read, checked and mended, in the file's own CRS."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo import CRS

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import Box, crs_name, parse_crs
from geodiff.geo.provenance import is_remote, source_name

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

Geometries = NDArray[np.object_]

IN_MEMORY = "polygons in memory"

COLUMNAR = {".parquet": "read_parquet", ".feather": "read_feather", ".arrow": "read_feather"}
"""Files that geopandas reads by functions of their own."""

# What geopandas, its readers and GEOS raise for files that are damaged or no vectors at all.
_UNREADABLE = (RuntimeError, ValueError, OSError, KeyError, TypeError, ImportError)
_SHOWN = 12  # names of attributes or layers in a message


@dataclass(frozen=True, eq=False)
class LabelledPolygons:
    """Valid polygons (n,) with a text each, later ones lying on top; edges are straight in ``crs``.

    ``notes`` say what was left out or mended. Two are equal if all that shapes a mosaic is: words,
    vertices, their order and the CRS, whichever file they come from.
    """

    geometries: Geometries
    texts: tuple[str, ...]
    crs: CRS
    name: str  # of the file, without its folder
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of words, shapes, their order and the CRS, however a format turns its rings."""
        found = hashlib.sha256(self.crs.proj.to_wkt().encode())
        shapes = shapely.normalize([unwrapped(shape) for shape in self.geometries])
        for text, shape in zip(self.texts, shapely.to_wkb(shapes), strict=True):
            found.update(f"\n{len(shape)} {text}\n".encode())
            found.update(shape)
        return found.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelledPolygons) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def bounds(self) -> Box:
        """Left, bottom, right, top of all, in the CRS of the file."""
        left, bottom, right, top = (float(edge) for edge in shapely.total_bounds(self.geometries))
        return left, bottom, right, top

    @property
    def distinct(self) -> tuple[str, ...]:
        """The texts without repetitions, in the order of their first polygons."""
        return tuple(dict.fromkeys(self.texts))


def read_polygons(
    source: str | Path | GeoDataFrame, attribute: str | None, layer: str | None = None
) -> LabelledPolygons:
    """The polygons of a file (any that geopandas reads) or a GeoDataFrame, and their ``attribute``.

    Features without words and shapes that are no polygons are left out, invalid polygons mended
    (shapely.make_valid), with a note each. Raises UsageError for an attribute or a layer that is
    not there, DataError for what cannot be read or placed and where no polygon with words is left.
    """
    if isinstance(source, (str, Path)):
        name = source_name(str(source))
        frame = open_frame(str(source), name, layer)
    else:
        name, frame = IN_MEMORY, source
        if layer is not None:
            raise UsageError(f"--layer {layer} names a part of a file: leave it out")
    crs = check_frame(frame, name)
    words = words_of(frame, name, attribute)
    shapes, notes = polygons_of(frame, name)
    kept = np.array([shape is not None for shape in shapes], bool)
    told = np.array([word is not None for word in words], bool)
    if silent := int((kept & ~told).sum()):
        if silent == kept.sum():
            raise DataError(f"{name}: all {silent} polygons have nothing in {attribute}")
        notes.append(
            f"{name}: {silent} of {kept.sum()} polygons have nothing in {attribute} and are left "
            "out"
        )
    rows = np.flatnonzero(kept & told)
    texts = tuple(str(words[row]) for row in rows)
    found = LabelledPolygons(shapes[rows], texts, crs, name, tuple(notes))
    check_degrees(found)
    return found


def open_frame(path: str, name: str, layer: str | None) -> Any:
    """The table of a layer, as geopandas reads it; the errors of ``read_polygons``."""
    import geopandas

    if not path.strip() or not (is_remote(path) or Path(path).exists()):
        raise DataError(f"{path or 'the vector file'} does not exist: check --layout-file")
    reader = COLUMNAR.get(Path(path).suffix.lower())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on measured coordinates and the like
        try:
            if reader is not None:
                if layer is not None:
                    raise UsageError(f"--layer {layer}: {name} has no layers, leave it out")
                return getattr(geopandas, reader)(path)
            layers = geopandas.list_layers(path)
            placed = layers[layers["geometry_type"].notna()]
            return geopandas.read_file(path, layer=choose_layer(list(placed["name"]), name, layer))
        except _UNREADABLE as error:
            if isinstance(error, UsageError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{path} cannot be read as a vector file: {reason}") from error


def choose_layer(layers: Sequence[str], name: str, layer: str | None) -> str | None:
    """The layer to read; UsageError if it is not there, or not the only one and not named."""
    if layer is not None and layer not in layers:
        raise UsageError(f"--layer {layer} is not in {name}: it has {listed(layers)}")
    if layer is None and len(layers) > 1:
        raise UsageError(f"{name} has {len(layers)} layers: give --layer, one of {listed(layers)}")
    return layer or (layers[0] if layers else None)


def check_frame(frame: Any, name: str) -> CRS:
    """The CRS of a table with geometries. Raises DataError for a table that cannot be placed."""
    if not hasattr(frame, "geometry") or getattr(frame, "_geometry_column_name", None) is None:
        raise DataError(f"{name} has no geometries, only a table: give a layer of polygons")
    if len(frame) == 0:
        raise DataError(f"{name} is empty: it has no features")
    if frame.crs is None or str(frame.crs.name).lower().startswith("undefined"):
        raise DataError(
            f"{name} has no CRS, so its polygons cannot be placed: give it one (in QGIS: Assign "
            "Projection; ogr2ogr -a_srs EPSG:... in Python: set_crs)"
        )
    try:
        return parse_crs(frame.crs.to_wkt())
    except UsageError as error:
        raise DataError(f"{name}: {error}") from error


def words_of(frame: Any, name: str, attribute: str | None) -> list[str | None]:
    """The text of every feature with its blanks tidied; None where there is none."""
    others = [str(column) for column in frame.columns if column != frame.geometry.name]
    if attribute is None or attribute not in others:
        wrong = "" if attribute is None else f"--attribute {attribute} is not in {name}: "
        raise UsageError(
            f"{wrong}give --attribute NAME, the one with the words; {name} has {listed(others)}"
        )
    column = frame[attribute]
    words: list[str | None] = []
    for value, missing in zip(column, column.isna(), strict=True):
        if not missing and not isinstance(value, str):
            texts = [one for one in others if any(isinstance(word, str) for word in frame[one])]
            raise DataError(
                f"{name}: the attribute {attribute} holds {value!r} ({column.dtype}), no words: "
                f"give --attribute with one that holds text; there is {listed(texts)}"
            )
        words.append(None if missing else " ".join(value.split()) or None)
    return words


def polygons_of(frame: Any, name: str) -> tuple[Geometries, list[str]]:
    """The polygonal part of every feature (None without one), valid and flat, and notes."""
    given = shapely.force_2d(np.asarray(frame.geometry.array, object))
    finite = np.isfinite(shapely.bounds(given)).all(axis=1)
    polygonal = np.isin(shapely.get_type_id(given), (3, 6, 7))
    broken = finite & polygonal & ~shapely.is_valid(given)
    shapes: Geometries = np.full(len(given), None, object)
    for row in np.flatnonzero(finite & polygonal):
        shapes[row] = areas_of(shapely.make_valid(given[row]) if broken[row] else given[row])
    kept = np.array([shape is not None for shape in shapes], bool)
    if not kept.any():
        kinds = {str(kind) for kind in frame.geometry.geom_type if isinstance(kind, str)}
        what = ", ".join(sorted(kinds)) or "empty geometries"
        raise DataError(f"{name} has no polygon with an area, only {what}: give a polygon layer")
    notes = []
    if left := int((~kept).sum()):
        notes.append(f"{name}: {left} of {len(given)} features are no polygons and are left out")
    if mended := int((broken & kept).sum()):
        notes.append(
            f"{name}: {mended} of {len(given)} polygons {'is' if mended == 1 else 'are'} invalid "
            "(an outline that crosses itself, for example) and taken as shapely.make_valid mends "
            f"{'it' if mended == 1 else 'them'}"
        )
    return shapes, notes


def areas_of(shape: Any) -> Any:
    """The polygons in a geometry as one; None where they have no area."""
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape if shape.area > 0 else None
    parts: list[Any] = []
    for part in getattr(shape, "geoms", ()):
        areas = areas_of(part)
        parts += [] if areas is None else shapely.get_parts(areas).tolist()
    return shapely.union_all(parts) if parts else None


def unwrapped(shape: Any) -> Any:
    """The only part of a collection of one, anything else as it is."""
    return shape.geoms[0] if shape.geom_type != "Polygon" and len(shape.geoms) == 1 else shape


def check_degrees(polygons: LabelledPolygons) -> None:
    """Raises DataError for coordinates that are no degrees although the CRS counts in them."""
    if not polygons.crs.proj.is_geographic:
        return
    bounds = shapely.bounds(shapely.get_parts(polygons.geometries))  # what was cut has two
    left, bottom, right, top = polygons.bounds
    shown = f"{polygons.name} reaches from {left:.10g},{bottom:.10g} to {right:.10g},{top:.10g}"
    if max(abs(left), abs(right)) > 360 or max(abs(bottom), abs(top)) > 90:
        raise DataError(
            f"{shown}, which are no degrees, but its CRS {crs_name(polygons.crs)} is in degrees: "
            "give it the CRS that its numbers are in"
        )
    if max(abs(left), abs(right)) > 180 or (bounds[:, 2] - bounds[:, 0]).max() > 180:
        raise DataError(
            f"{shown}: a polygon crosses the antimeridian, which is not supported: cut it at 180 "
            "degrees (ogr2ogr -wrapdateline), with longitudes from -180 to 180"
        )


def listed(names: Iterable[str]) -> str:
    """Names for a message, at most some of them."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "none"
