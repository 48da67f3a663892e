"""Images of a STAC collection are read like one raster: from a real API, over real HTTP."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.shutil import copy
from rasterio.warp import Resampling, reproject, transform_bounds
from shapely.affinity import translate

from geodiff.errors import DataError, UsageError
from geodiff.geo import signing
from geodiff.geo.grid import PixelGrid, box_grid
from geodiff.geo.raster import Reference
from geodiff.geo.search import Found, Search, search
from geodiff.geo.stac_assets import outline
from geodiff.geo.stac_order import arrange, covered, meeting
from geodiff.geo.stac_pixels import Reading
from geodiff.geo.stac_source import Region, StacSource
from geodiff.window import Window
from tests.stac_live import Handler, Server, cog, item, rustac, served

YEARS = (2016, 2018, 2020)
PLACE = "claremont_{}_3"
LEFT, TOP = 434955.6, 3777607.8  # EPSG:26911
RES = 0.6
READING = Reading(timeout=20)


@dataclass(frozen=True)
class World:
    """Real chips as COGs behind a server, and an API that knows them."""

    folder: Path
    server: Server
    api: str
    items: dict[str, pystac.Item]

    def grid(self, west: int, north: int, width: int, height: int) -> PixelGrid:
        """Pixels counted from the chips' corner, on the lattice of EPSG:26911."""
        left, top = LEFT + RES * west, TOP - RES * north
        box = (left, top - RES * height, left + RES * width, top)
        return box_grid(box, "EPSG:26911", "EPSG:26911", RES)

    def find(self, dates: str | None, *names: str) -> list[Found]:
        found = search(Search(self.api, ("naip",), datetime=dates))
        return [one for one in found if not names or one.name in names]

    def source(self, grid: PixelGrid, found: list[Found], order: str = "newest") -> StacSource:
        region = Region(grid.window.pad(600).snap(512))
        return StacSource("the tests", arrange(found, order, grid), region, READING)


@pytest.fixture(scope="module")
def world(imagery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three years of one place; its halves, which overlap; and the place in the next zone."""
    folder = tmp_path_factory.mktemp("naip")
    days: dict[Path, str] = {}
    for year in YEARS:
        with rasterio.open(imagery / "naip_ca_060cm" / "images" / f"{PLACE}.tif".format(year)) as d:
            pixels, affine, crs = d.read(), d.transform, d.crs
        days[cog(folder / f"y{year}.tif", pixels, str(crs), affine)] = f"{year}-06-01"
    for name, first, last in (("west", 0, 160), ("east", 96, 256)):
        part = shifted(affine, first, 0)
        path = cog(folder / f"{name}.tif", pixels[:, :, first:last], str(crs), part)
        days[path] = "2014-05-01"
    days[in_next_zone(folder, pixels, crs, affine)] = "2012-07-01"
    with served(folder) as server:
        items = {
            path.stem: item(path, f"{server.url}/{path.name}", day) for path, day in days.items()
        }
        with rustac(folder, list(items.values())) as api:
            yield World(folder, server, api, items)


def shifted(affine: Affine, cols: int, rows: int) -> Affine:
    a, b, c, d, e, f = affine[:6]
    return Affine(a, b, c + cols * a, d, e, f + rows * e)


def in_next_zone(folder: Path, pixels: np.ndarray, crs: CRS, affine: Affine) -> Path:
    """The inner part of a chip, warped to the UTM zone in the west."""
    box = affine.c, affine.f - 256 * RES, affine.c + 256 * RES, affine.f
    left, bottom, right, top = transform_bounds(crs, "EPSG:26910", *box)
    zone = Affine(RES, 0.0, left, 0.0, -RES, top)
    height, width = round((top - bottom) / RES), round((right - left) / RES)
    moved = np.zeros((len(pixels), height, width), np.uint8)
    reproject(
        pixels, moved, src_transform=affine, src_crs=crs, dst_transform=zone,
        dst_crs="EPSG:26910", resampling=Resampling.cubic,
    )  # fmt: skip
    inner = shifted(zone, 40, 40)
    return cog(folder / "zone10.tif", moved[:, 40:-40, 40:-40], "EPSG:26910", inner)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(signing, "DELAY", 0.01)


def test_the_order_says_which_year_a_pixel_shows(world: World) -> None:
    grid = world.grid(-20, 10, 120, 90)
    chips = {year: Reference.open(world.folder / f"y{year}.tif").read(grid) for year in YEARS}
    for order, dates, year in (
        ("newest", "2016/2020", 2020), ("oldest", "2016/2020", 2016), ("newest", "2018", 2018),
        ("same-year", "../2018", 2018),
    ):  # fmt: skip
        image, valid = world.source(grid, world.find(dates), order).read(grid)
        assert valid.mean() == 100 / 120  # 20 columns lie west of the chips
        np.testing.assert_array_equal(valid, chips[year][1])
        np.testing.assert_array_equal(image, chips[year][0])  # copied to the bit
    whole = world.grid(0, 0, 256, 256)
    one_year = arrange(world.find("2012/2016"), "same-year", whole)
    assert [one.name for one in one_year] == ["y2016"]  # zone10 shows less, the halves are older
    halves = world.find("2012/2014")
    assert [one.name for one in arrange(halves, "same-year", whole)] == ["east", "west"]


def test_images_of_one_day_may_overlap(world: World) -> None:
    grid = world.grid(0, 0, 256, 256)
    source = world.source(grid, world.find("2014"))
    assert [one.name for one in source.items] == ["east", "west"]
    image, valid = source.read(grid)
    assert valid.all()
    assert source.coverage(grid) == 1
    chip = Reference.open(world.folder / "y2020.tif").read(grid)[0]
    np.testing.assert_array_equal(image, chip)


def test_a_pixel_depends_on_its_place_alone(world: World) -> None:
    """Not on the box, the window, what else was found, or the process."""
    names = ("zone10", "west")  # the first one is the older
    wide, narrow = world.grid(-900, -700, 1500, 1300), world.grid(60, 140, 150, 170)
    first, second = (
        pickle.loads(pickle.dumps(world.source(grid, meeting(world.find(None, *names), grid))))
        for grid in (wide, narrow)
    )
    image, valid = second.read(narrow)
    assert 0.5 < valid.mean() < 1
    part = Window(narrow.row - 13, narrow.col - 200, 200, 500)
    rows, cols = narrow.window.within(part.pad(64))
    for source in (first, second):
        again, good = source.read(narrow, part.pad(64))
        np.testing.assert_array_equal(good[rows, cols], valid)
        np.testing.assert_array_equal(again[:, rows, cols], image)
    assert first.read(wide, Window(wide.row - 5000, wide.col, 9, 9))[1].sum() == 0


def test_the_next_zone_is_warped_onto_the_lattice(world: World) -> None:
    grid = world.grid(0, 0, 256, 256)
    image, valid = world.source(grid, world.find("2012")).read(grid)
    assert 0.3 < valid.mean() < 0.6
    chip = Reference.open(world.folder / "y2020.tif").read(grid)[0]
    inner = valid & np.roll(valid, 3, (0, 1)) & np.roll(valid, -3, (0, 1))
    error = np.abs(image.astype(int) - chip)[:, inner].mean()
    moved = np.abs(np.roll(image, 1, 2).astype(int) - chip)[:, inner].mean()
    assert error < 6 < moved  # resampled twice, and in place to a fraction of a pixel


def test_bands_scale_and_coarser_grids(world: World) -> None:
    grid = box_grid(
        (LEFT + 4.8, TOP - 96, LEFT + 100.8, TOP - 4.8), "EPSG:26911", "EPSG:26911", 2.4
    )
    source = world.source(grid, world.find("2020"))
    other = replace(source, how=Reading((4, 3, 2), (20.0, 220.0)))
    path = world.folder / "y2020.tif"
    for ours, theirs in (
        (source, Reference.open(path)), (other, Reference.open(path, (4, 3, 2), (20.0, 220.0))),
    ):  # fmt: skip
        image, valid = ours.read(grid)
        expected, good = theirs.read(grid)
        np.testing.assert_array_equal(valid, good)
        assert np.abs(image.astype(int) - expected).mean() < 2  # both are averages
    assert source.identity != other.identity
    with pytest.raises(UsageError, match="three numbers from 1 to 4"):
        replace(source, how=Reading((4, 5, 6))).probe()


def test_images_with_a_mask_keep_it(world: World, tmp_path: Path) -> None:
    with rasterio.open(world.folder / "y2020.tif") as dataset:
        pixels, affine = dataset.read((1, 2, 3)), dataset.transform
    mask = np.full((256, 256), 255, np.uint8)
    mask[:, :100] = 0
    settings = {"count": 3, "height": 256, "width": 256, "crs": "EPSG:26911", "transform": affine}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "m.tif", "w", driver="GTiff", dtype="uint8", **settings) as made,
    ):
        made.write(pixels)
        made.write_mask(mask)
    grid = world.grid(0, 0, 256, 256)
    (found,) = world.find("2020")
    masked = replace(found, name="masked", hrefs=(str(tmp_path / "m.tif"),))
    over = replace(world.source(grid, [found]), items=(masked, *world.find("2016", "y2016")))
    image, valid = over.read(grid)
    assert valid.all()
    old = Reference.open(world.folder / "y2016.tif").read(grid)[0]
    np.testing.assert_array_equal(image, np.where(mask > 0, pixels, old))


@pytest.fixture
def elsewhere(world: World) -> Iterator[Server]:
    """The same files behind a server of its own: GDAL remembers what an address answered."""
    with served(world.folder) as server:
        yield server


def moved_to(source: StacSource, url: str) -> StacSource:
    """The source with its files at another address."""
    items = tuple(
        replace(i, hrefs=tuple(f"{url}/{href.rpartition('/')[2]}" for href in i.hrefs))
        for i in source.items
    )
    return replace(source, items=items)


def test_no_pixel_is_read_under_a_newer_image(world: World, elsewhere: Server) -> None:
    grid = world.grid(10, 10, 100, 100)
    moved_to(world.source(grid, world.find("2016/2020")), elsewhere.url).read(grid)
    assert set(elsewhere.asked) == {"/y2020.tif"}


def test_a_server_that_stumbles_is_asked_again(world: World, elsewhere: Server) -> None:
    grid = world.grid(0, 0, 256, 256)
    failures = iter([500, 503])

    def stumble(handler: Handler) -> bool:
        code = next(failures, None)
        if code is not None:
            handler.send(code, b"later")
        return code is not None

    elsewhere.answer = stumble
    source = moved_to(world.source(grid, world.find("2020")), elsewhere.url)
    assert source.read(grid)[1].all()
    assert next(failures, None) is None


@pytest.mark.parametrize(
    ("code", "content", "message"),
    [
        (403, b"no", "access is denied, it may want credentials$"),
        (404, b"no", r"the file is gone \(404\)"),
        (500, b"no", "the server answers 500, also after 4 more attempts"),
        (200, b"<html>sign in</html>", "this is no raster. Name another asset"),
    ],
)
def test_files_that_cannot_be_read(
    world: World, elsewhere: Server, code: int, content: bytes, message: str
) -> None:
    grid = world.grid(0, 0, 64, 64)
    elsewhere.answer = lambda handler: handler.send(code, content) is None
    source = moved_to(world.source(grid, world.find("2020")), elsewhere.url)
    with pytest.raises(DataError, match=f"item y2020 cannot be read at http.*: {message}") as error:
        source.probe()
    assert "\n" not in str(error.value)


def test_what_the_web_sends_leads_to_no_file_of_this_computer(
    world: World, elsewhere: Server, tmp_path: Path
) -> None:
    """A VRT in the place of a raster would read whatever it names."""
    copy(world.folder / "y2020.tif", tmp_path / "y2020.tif", driver="VRT")
    content = (tmp_path / "y2020.tif").read_bytes()
    assert str(world.folder).encode() in content
    elsewhere.answer = lambda handler: handler.send(200, content) is None
    grid = world.grid(0, 0, 64, 64)
    source = moved_to(world.source(grid, world.find("2020")), elsewhere.url)
    with pytest.raises(DataError, match=r"a VRT file at http.* refused; --stac-any-href takes it"):
        source.probe()
    replace(source, how=Reading(timeout=20, any_href=True)).probe()


def test_a_raster_that_lies_elsewhere_than_its_item(world: World) -> None:
    grid = world.grid(0, 0, 64, 64)
    (found,) = world.find("2020")
    assert found.believed
    assert found.footprint is not None
    lying = replace(found, hrefs=(str(world.folder / "y2020.tif"),))
    wrong = replace(lying, footprint=translate(found.footprint, 1.0))
    with pytest.raises(DataError, match=r"other ground than it says: its raster lies at -117.70"):
        replace(world.source(grid, [found]), items=(wrong,)).probe()
    told = item(world.folder / "y2020.tif", "x", "2020-06-01", **{"proj:epsg": 26914})
    assert told.bbox is not None
    ground, believed = outline(told, told.assets["image"])
    assert not believed
    assert ground is not None
    assert ground.bounds == pytest.approx(told.bbox)
    assert covered([replace(found, footprint=ground)], world.grid(0, 0, 200, 200)) == 1


@pytest.mark.parametrize(
    ("changes", "sense"),
    [
        ({"proj:epsg": 999999}, False),
        ({"proj:epsg": None, "proj:code": "abc"}, False),
        ({"proj:transform": ["a", "b"]}, False),
        ({"proj:shape": "tall"}, False),
        ({"proj:shape": [0, 200]}, False),
        ({"proj:shape": None}, True),
        ({"proj:epsg": None}, True),
    ],
)
def test_projection_fields_that_make_no_sense_are_not_believed(
    changes: dict[str, Any], sense: bool, world: World
) -> None:
    """Missing ones are no wrong ones; either way the item goes by its geometry."""
    told = item(world.folder / "y2020.tif", "x", "2020-06-01", **changes)
    ground, believed = outline(told, told.assets["image"])
    assert believed == sense
    assert told.bbox is not None
    assert ground is not None
    assert ground.bounds == pytest.approx(told.bbox)


def test_addresses_are_signed_when_they_are_read(
    world: World, elsewhere: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real service of signatures, whose first one has expired, and a proxy for its host."""
    package = signing.planetary_computer()
    given: list[str] = []

    def azure(handler: Handler) -> bool:
        if handler.path.startswith("/sas/naipeuwest/naip"):
            given.append(f"se=2030&sig=secret{len(given)}")
            expiry = datetime.now(UTC) + timedelta(hours=1)
            return handler.json({"token": given[-1], "msft:expiry": expiry.isoformat()})
        if "sig=secret" not in handler.path or "sig=secret0" in handler.path:
            handler.send(403, b"AuthenticationFailed")
            return True
        return False

    elsewhere.answer = azure
    (elsewhere.folder / "naip").mkdir(exist_ok=True)
    shutil.copy(elsewhere.folder / "y2020.tif", elsewhere.folder / "naip" / "signed.tif")
    package.sas.TOKEN_CACHE.clear()
    monkeypatch.setattr(package.settings.Settings.get(), "sas_url", f"{elsewhere.url}/sas")
    monkeypatch.setenv("GDAL_HTTP_PROXY", elsewhere.url)
    grid = world.grid(0, 0, 64, 64)
    (found,) = world.find("2020")
    href = "http://naipeuwest.blob.core.windows.net/naip/signed.tif"
    source = replace(world.source(grid, [found]), items=(replace(found, hrefs=(href,)),))
    assert source.read(grid)[1].all()
    assert len(given) == 2  # the second worked
    assert "secret" not in repr(pickle.dumps(source))
    source.read(grid)
    assert len(given) == 2
    package.sas.TOKEN_CACHE.clear()
    given[:] = []
    gone = replace(source, items=(replace(found, hrefs=(f"{href}.gone",)),))
    with pytest.raises(DataError, match=r"signed.tif.gone: the file is gone") as error:
        gone.probe()
    assert "secret" not in str(error.value)


def test_the_requester_pays_where_that_is_allowed(
    world: World, elsewhere: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bucket(handler: Handler) -> bool:
        if handler.headers.get("x-amz-request-payer") == "requester":
            return False
        handler.send(403, b"<Error><Code>AccessDenied</Code></Error>", "application/xml")
        return True

    elsewhere.answer = bucket
    (elsewhere.folder / "bucket").mkdir(exist_ok=True)
    shutil.copy(elsewhere.folder / "y2020.tif", elsewhere.folder / "bucket" / "paid.tif")
    for name, value in {
        "AWS_S3_ENDPOINT": elsewhere.url.removeprefix("http://"), "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    grid = world.grid(0, 0, 64, 64)
    (found,) = world.find("2020")
    paid = replace(found, hrefs=("s3://bucket/paid.tif",))
    source = replace(world.source(grid, [found]), items=(paid,))
    with pytest.raises(DataError, match=r"AWS credentials .* and --stac-requester-pays"):
        source.probe()
    paying = replace(source, how=replace(READING, requester_pays=True))
    shutil.copy(elsewhere.folder / "y2020.tif", elsewhere.folder / "bucket" / "other.tif")
    other = replace(paying, items=(replace(paid, hrefs=("s3://bucket/other.tif",)),))
    assert other.read(grid)[1].all()
    assert re.search("x-amz|bucket/other", " ".join(elsewhere.asked))
