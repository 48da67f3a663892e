"""The STAC item written beside a mosaic: where it lies, what made it, and its checksum."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from pyproj import Transformer
from shapely import box
from shapely.geometry import MultiPolygon, Polygon, mapping
from shapely.geometry.polygon import orient

from geodiff.geo.grid import PixelGrid
from geodiff.geo.provenance import Provenance, is_remote, plain
from geodiff.geo.target import item_path
from geodiff.geo.writing import WRITE_ERRORS, gdal, hidden, write_failure

_EXTENSIONS = "https://stac-extensions.github.io/{}/schema.json"
PROJECTION = _EXTENSIONS.format("projection/v2.0.0")
PROCESSING = _EXTENSIONS.format("processing/v1.2.0")
FILE = _EXTENSIONS.format("file/v2.1.0")
_SIDE_POINTS = 9  # per side of the footprint: a UTM edge bends by far less than a pixel between


def item_for(
    path: str | Path,
    grid: PixelGrid,
    provenance: Provenance,
    preview: str | Path | None = None,
    made: Path | None = None,
) -> pystac.Item:
    """The STAC 1.1 item of the finished COG at ``path`` (never written to: only read and hashed).

    ``made`` is where the COG still lies, if it has not got its name yet. Its hrefs are relative to
    the directory of ``path``. Without a CRS it has neither geometry nor projection fields. Raises
    OSError where ``path`` or ``preview`` cannot be read.
    """
    path = Path(path)
    geometry, bounds = footprint(grid)
    item = pystac.Item(
        id=path.stem,
        geometry=geometry,
        bbox=bounds,
        datetime=provenance.created.astimezone(UTC),
        properties=_provenance_fields(provenance) | _projection_fields(grid),
        stac_extensions=[PROCESSING, FILE] + ([PROJECTION] if geometry else []),
    )
    item.add_asset("data", _data_asset(path, made or path))
    if preview is not None:
        href = _relative(str(preview), path.parent)
        item.add_asset("preview", _asset(href, Path(preview), pystac.MediaType.PNG, "overview"))
    for source in provenance.derived_from:
        # A name without a directory that is not here tells what, but not where.
        known = not is_remote(source) and (Path(source).name != source or Path(source).exists())
        href = _relative(source, path.parent) if known else source
        item.add_link(pystac.Link(rel=pystac.RelType.DERIVED_FROM, target=plain(href)))
    return item


def write_item(
    path: str | Path,
    grid: PixelGrid,
    provenance: Provenance,
    preview: str | Path | None = None,
    made: Path | None = None,
) -> Path:
    """Writes ``item_for`` beside the COG, same stem and .json, in one step; returns its path.

    Replaces a former item: ``check_output`` asks first. Raises OutputError if the item cannot
    be written.
    """
    target = item_path(path)
    item = item_for(path, grid, provenance, preview, made)
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    temporary = hidden(target, "new", ".json")  # one name: swept by the next run
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, target)
    except WRITE_ERRORS as error:
        raise write_failure(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def footprint(grid: PixelGrid) -> tuple[dict[str, Any] | None, list[float] | None]:
    """GeoJSON geometry and bbox (west, south, east, north) of a grid in WGS84 degrees.

    The edges are bent as the CRS bends them; the ring runs counter-clockwise. A footprint across
    the antimeridian becomes two polygons and its bbox has west > east (RFC 7946, section 5.2). Both
    are None without a CRS. Not meant for grids that hold a pole.
    """
    if grid.crs is None:
        return None, None
    height, width = grid.geobox.shape
    steps = np.linspace(0, 1, _SIDE_POINTS)[:-1]
    cols = np.concatenate([steps, np.ones_like(steps), 1 - steps, np.zeros_like(steps)]) * width
    rows = np.concatenate([np.zeros_like(steps), steps, np.ones_like(steps), 1 - steps]) * height
    affine = grid.geobox.affine
    to_degrees = Transformer.from_crs(grid.crs.proj, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(affine.c + cols * affine.a, affine.f + rows * affine.e)
    if np.ptp(lon) <= 180:
        outline = orient(Polygon(zip(lon, lat, strict=True)))
        return mapping(outline), [float(edge) for edge in outline.bounds]
    whole = Polygon(zip(np.where(lon < 0, lon + 360, lon), lat, strict=True))
    east = whole.intersection(box(0, -90, 180, 90))
    west = whole.intersection(box(180, -90, 360, 90))
    west = Polygon([(x - 360, y) for x, y in west.exterior.coords])
    left, bottom, right, top = map(float, whole.bounds)
    return mapping(MultiPolygon([orient(east), orient(west)])), [left, bottom, right - 360, top]


def _projection_fields(grid: PixelGrid) -> dict[str, Any]:
    if grid.crs is None:
        return {}
    affine, bounds = grid.geobox.affine, grid.geobox.boundingbox
    authority = grid.crs.proj.to_authority(min_confidence=100)
    crs: dict[str, Any] = {"proj:code": ":".join(authority) if authority else None}
    if authority is None:
        crs["proj:wkt2"] = grid.crs.proj.to_wkt()
        crs["proj:projjson"] = grid.crs.proj.to_json_dict()
    return crs | {
        "gsd": grid.gsd,
        "proj:shape": list(grid.geobox.shape),
        "proj:transform": [float(number) for number in tuple(affine)[:6]],
        "proj:bbox": [float(edge) for edge in bounds.bbox],
    }


def _provenance_fields(provenance: Provenance) -> dict[str, Any]:
    created = pystac.utils.datetime_to_str(provenance.created.astimezone(UTC))
    lineage = f"{provenance.description} It goes by: {provenance.source}."
    if provenance.credit:
        lineage += f" Training data: {provenance.credit}"
    fields: dict[str, Any] = {
        "title": f"{provenance.software}: synthetic imagery",
        "description": plain(provenance.description),
        "created": created,
        "processing:level": "L4",
        "processing:software": {"geodiff": provenance.version},
        "processing:datetime": created,
        "processing:lineage": plain(lineage),
        "geodiff:synthetic": True,
        "geodiff:model": plain(provenance.model),
        "geodiff:model_hash": plain(provenance.model_hash),
        "geodiff:seed": provenance.seed,
        "geodiff:noise_version": provenance.noise_version,
        "geodiff:source": plain(provenance.source),
        "geodiff:mode": plain(provenance.mode),
        "geodiff:steps": provenance.steps,
        "geodiff:guidance": provenance.guidance,
        "geodiff:layout": plain(provenance.layout),
    }
    for name, text in (("command", provenance.command), ("credit", provenance.credit)):
        if text:
            fields[f"geodiff:{name}"] = plain(text)
    return fields


def _data_asset(path: Path, made: Path) -> pystac.Asset:
    asset = _asset(f"./{path.name}", made, pystac.MediaType.COG, "data")
    with gdal(), rasterio.open(made) as dataset:
        asset.extra_fields["bands"] = [
            {
                "name": dataset.descriptions[index] or f"band{index + 1}",
                "data_type": dataset.dtypes[index],
                **_statistics(dataset.tags(index + 1)),
            }
            for index in range(dataset.count)
        ]
    return asset


def _statistics(tags: dict[str, str]) -> dict[str, Any]:
    """STAC's statistics object of a band from GDAL's tags; {} where there are none."""
    names = ("minimum", "maximum", "mean", "stddev")
    found = {name: tags.get(f"STATISTICS_{name.upper()}") for name in names}
    numbers = {name: float(text) for name, text in found.items() if text is not None}
    return {"statistics": numbers} if numbers else {}


def _asset(href: str, path: Path, media_type: str, role: str) -> pystac.Asset:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fields = {
        "file:checksum": f"1220{digest}",  # multihash: 0x12 is sha2-256, 0x20 its 32 bytes
        "file:size": path.stat().st_size,
    }
    return pystac.Asset(href=href, media_type=media_type, roles=[role], extra_fields=fields)


def _relative(source: str, directory: Path) -> str:
    """A local file as a link from ``directory``; absolute where no relative path exists."""
    try:
        path = Path(os.path.relpath(source, directory)).as_posix()
    except ValueError:  # another drive
        return Path(source).absolute().as_posix()
    return path if path.startswith("../") else f"./{path}"
