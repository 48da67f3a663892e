from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, shape

from geodiff.errors import OutputError
from geodiff.geo.cog import finish
from geodiff.geo.grid import PixelGrid
from geodiff.geo.mosaic import WorkingRaster
from geodiff.geo.preview import preview
from geodiff.geo.provenance import Provenance
from geodiff.geo.stac import FILE, PROCESSING, PROJECTION, footprint, item_for, write_item
from tests.stac_schemas import validate

LCC = "+proj=lcc +lat_0=39 +lon_0=-105.5 +lat_1=33 +lat_2=45 +datum=NAD83 +units=m +type=crs"


def grid_of(crs: str | None, left: float = 5e5, top: float = 4.4e6, step: float = 1) -> PixelGrid:
    return PixelGrid(GeoBox((6, 8), Affine(step, 0, left, 0, -step, top), crs and CRS(crs)), 0, 0)


def mosaic(out: Path, grid: PixelGrid, provenance: Provenance) -> None:
    with WorkingRaster(out, grid, provenance=provenance) as raster:
        raster.write(grid.window, np.arange(144, dtype=np.uint8).reshape(3, 6, 8))
    finish(raster.path, out)


def written(out: Path, grid: PixelGrid, provenance: Provenance) -> dict[str, Any]:
    mosaic(out, grid, provenance)
    content: dict[str, Any] = json.loads(write_item(out, grid, provenance).read_text("utf-8"))
    return content


@pytest.mark.parametrize("crs", ["EPSG:32613", LCC, None])
def test_the_item_is_valid_stac(tmp_path: Path, provenance: Provenance, crs: str | None) -> None:
    content = written(tmp_path / "a.tif", grid_of(crs), provenance)
    validate(content)
    assert content["stac_version"] == "1.1.0"
    assert content["id"] == "a"
    assert content["properties"]["datetime"] == "2026-11-23T04:05:06Z"
    assert pystac.Item.from_dict(content).id == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.tif"]


def test_projection_fields_are_the_grids(tmp_path: Path, provenance: Provenance) -> None:
    content = written(tmp_path / "a.tif", grid_of("EPSG:32613"), provenance)
    properties = content["properties"]
    assert PROJECTION in content["stac_extensions"]
    assert properties["proj:code"] == "EPSG:32613"
    assert "proj:epsg" not in properties
    assert properties["proj:shape"] == [6, 8]
    assert properties["proj:transform"] == [1.0, 0.0, 5e5, 0.0, -1.0, 4.4e6]
    assert properties["proj:bbox"] == [5e5, 4.4e6 - 6, 5e5 + 8, 4.4e6]
    assert properties["gsd"] == pytest.approx(1, rel=0.01)


def test_a_crs_without_code_is_given_as_projjson(tmp_path: Path, provenance: Provenance) -> None:
    properties = written(tmp_path / "a.tif", grid_of(LCC), provenance)["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:projjson"]["type"] == "ProjectedCRS"
    assert CRS(properties["proj:wkt2"]) == CRS(LCC)
    assert CRS(json.dumps(properties["proj:projjson"])) == CRS(LCC)


def test_without_a_crs_there_is_no_place(tmp_path: Path, provenance: Provenance) -> None:
    content = written(tmp_path / "a.tif", grid_of(None), provenance)
    assert content["geometry"] is None
    assert "bbox" not in content
    assert PROJECTION not in content["stac_extensions"]
    assert not [name for name in content["properties"] if name.startswith("proj:")]
    assert "gsd" not in content["properties"]


def test_processing_fields_tell_what_made_it(tmp_path: Path, provenance: Provenance) -> None:
    content = written(tmp_path / "a.tif", grid_of("EPSG:32613"), provenance)
    properties = content["properties"]
    assert PROCESSING in content["stac_extensions"]
    assert properties["processing:software"] == {"geodiff": "0.1.0"}
    assert properties["processing:level"] == "L4"
    assert properties["processing:datetime"] == "2026-11-23T04:05:06Z"
    assert "Synthetic aerial imagery" in properties["processing:lineage"]
    assert provenance.credit in properties["processing:lineage"]
    assert "processing:facility" not in properties
    assert properties["geodiff:synthetic"] is True
    assert properties["geodiff:model"] == provenance.model
    assert properties["geodiff:model_hash"] == "sha256:0123abcd"
    assert properties["geodiff:seed"] == 7
    assert properties["geodiff:noise_version"] == 1


def test_assets_have_checksum_size_and_bands(tmp_path: Path, provenance: Provenance) -> None:
    out, grid = tmp_path / "a.tif", grid_of("EPSG:32613")
    content = written(out, grid, provenance)
    asset = content["assets"]["data"]
    assert FILE in content["stac_extensions"]
    assert asset["href"] == "./a.tif"
    assert asset["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert asset["roles"] == ["data"]
    assert asset["file:checksum"] == "1220" + hashlib.sha256(out.read_bytes()).hexdigest()
    assert len(asset["file:checksum"]) == 4 + 64
    assert asset["file:size"] == out.stat().st_size
    assert [band["name"] for band in asset["bands"]] == ["red", "green", "blue"]
    assert {band["data_type"] for band in asset["bands"]} == {"uint8"}
    assert asset["bands"][0]["statistics"]["maximum"] == 47


def test_a_preview_is_an_asset(tmp_path: Path, provenance: Provenance) -> None:
    out, grid = tmp_path / "a.tif", grid_of("EPSG:32613")
    mosaic(out, grid, provenance)
    preview(out, tmp_path / "a.png")
    asset = item_for(out, grid, provenance, preview=tmp_path / "a.png").assets["preview"]
    assert (asset.href, asset.media_type, asset.roles) == ("./a.png", "image/png", ["overview"])


def test_sources_are_linked_relative_and_without_secrets(
    tmp_path: Path, provenance: Provenance
) -> None:
    (tmp_path / "out").mkdir()
    url = "https://u:p@example.org/items/x?sig=SECRET"
    sources = (str(tmp_path / "in" / "b c.tif"), str(tmp_path / "out" / "d.tif"), url)
    made = replace(provenance, derived_from=sources, command=f"geodiff --like {url}")
    path = tmp_path / "out" / "a.tif"
    content = written(path, grid_of("EPSG:32613"), made)
    links = [link["href"] for link in content["links"] if link["rel"] == "derived_from"]
    assert links == ["../in/b c.tif", "./d.tif", "https://example.org/items/x"]
    assert "SECRET" not in path.with_suffix(".json").read_text("utf-8")


def test_a_name_without_a_place_stays_a_name(
    tmp_path: Path, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "here.tif").write_bytes(b"a raster")
    monkeypatch.chdir(tmp_path)
    made = replace(provenance, derived_from=("here.tif", "elsewhere.tif"))
    content = written(tmp_path / "out" / "a.tif", grid_of("EPSG:32613"), made)
    links = [link["href"] for link in content["links"] if link["rel"] == "derived_from"]
    assert links == ["../here.tif", "elsewhere.tif"]


def test_the_mosaic_is_never_touched(tmp_path: Path, provenance: Provenance) -> None:
    out, grid = tmp_path / "a.tif", grid_of("EPSG:32613")
    mosaic(out, grid, provenance)
    before = out.read_bytes()
    write_item(out, grid, provenance)
    assert out.read_bytes() == before


def test_an_item_that_cannot_be_written_is_one_error(
    tmp_path: Path, provenance: Provenance
) -> None:
    out, grid = tmp_path / "a.tif", grid_of("EPSG:32613")
    mosaic(out, grid, provenance)
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*a\.json"):
        write_item(out, grid, provenance)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.tif"]


@pytest.mark.parametrize("crs", ["EPSG:32613", LCC, "EPSG:3857"])
def test_the_footprint_holds_every_corner(crs: str) -> None:
    left, top = (-11_700_000.0, 4_800_000.0) if crs == "EPSG:3857" else (5e5, 4.4e6)
    if crs == LCC:
        left, top = 1000.0, 2000.0
    grid = grid_of(crs, left, top, step=5000.0)
    geometry, bounds = footprint(grid)
    assert geometry is not None
    assert bounds is not None
    outline = shape(geometry)
    assert outline.is_valid
    assert outline.exterior.is_ccw
    assert tuple(bounds) == outline.bounds
    expected = grid.bounds_lonlat()
    assert expected is not None
    np.testing.assert_allclose(bounds, expected, atol=1e-3)
    west, south, east, north = bounds
    assert outline.contains(Point((west + east) / 2, (south + north) / 2))


def test_a_footprint_across_the_antimeridian_is_two_parts() -> None:
    geometry, bounds = footprint(grid_of("EPSG:32601", 1.6e5, 6e5, step=2e4))
    assert geometry is not None
    assert bounds is not None
    parts = shape(geometry)
    assert geometry["type"] == "MultiPolygon"
    assert parts.is_valid
    assert bounds[0] > 178 > 0 > -178 > bounds[2] > -180
    assert parts.area < 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proj:epsg", 32613),  # of an older version
        ("proj:shape", [6.5, 8]),
        ("processing:level", 4),
        ("stac_extensions", ["https://stac-extensions.github.io/file/v2.1.0/schema.json"]),
    ],
)
def test_a_wrong_field_of_an_extension_is_seen(
    tmp_path: Path, provenance: Provenance, name: str, value: Any
) -> None:
    content = written(tmp_path / "a.tif", grid_of("EPSG:32613"), provenance)
    validate(content)
    if name == "stac_extensions":
        content["assets"]["data"]["file:size"] = -1
    else:
        content["properties"][name] = value
    with pytest.raises(pystac.STACValidationError):
        validate(content)
