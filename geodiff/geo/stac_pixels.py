"""The pixels of one STAC item on a part of the lattice, through odc-stac; signed as it is read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pystac
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from shapely.geometry import mapping

from geodiff.errors import DataError, GeodiffError, UsageError
from geodiff.geo.bands import check_type, choose_bands, is_masked
from geodiff.geo.catalogues import SECONDS
from geodiff.geo.grid import PixelGrid
from geodiff.geo.placement import Placement
from geodiff.geo.provenance import clean_href
from geodiff.geo.raster import Pixels, Reference
from geodiff.geo.search import Found
from geodiff.geo.signing import (
    check_driver,
    is_denied,
    is_signed,
    remote,
    renew,
    sign,
    unreadable,
)
from geodiff.geo.source import open_raster
from geodiff.geo.stac_assets import ground
from geodiff.geo.stac_order import ground_of

T = TypeVar("T")

NAMES = ("red", "green", "blue")


@dataclass(frozen=True)
class Reading:
    """How the items of a search are read."""

    bands: tuple[int, int, int] | None = None  # from 1; None: the items' own, else 1,2,3
    scale: tuple[float, float] | None = None  # values that become 0 and 255
    timeout: float = SECONDS  # seconds
    requester_pays: bool = False
    any_href: bool = False  # take also what may lead from the web to files of this computer


@dataclass(frozen=True)
class Look:
    """What the rasters of an item are like: one with three bands, or three with one each."""

    rasters: tuple[Reference, ...]  # by addresses without signatures
    masks: bool  # whether they have masks or alpha bands, which odc-stac does not read

    @property
    def masked(self) -> bool:
        """Whether some pixels may be invalid."""
        return any(raster.masked for raster in self.rasters)

    @property
    def bands(self) -> tuple[int, ...]:
        """Bands of the rasters that are red, green and blue."""
        return self.rasters[0].bands if len(self.rasters) == 1 else (1, 1, 1)


def look(item: Found, how: Reading) -> Look:
    """Open the rasters of an item. Raises DataError where they cannot be read or used."""

    def work(hrefs: Sequence[str]) -> Look:
        opened = [_open(item, hrefs[n], clean, how) for n, clean in enumerate(item.hrefs)]
        return Look(tuple(one for one, _ in opened), any(masks for _, masks in opened))

    found = patiently(item, how, work)
    place = found.rasters[0].placement
    shown = (
        None
        if place.crs is None
        else ground(str(place.crs), (place.height, place.width), place.affine)
    )
    if shown is None:
        raise DataError(f"the item {item.name} has no CRS in its raster: it cannot be placed")
    if item.footprint is not None and not shown.intersects(item.footprint):
        there, said = shown.centroid, item.footprint.centroid
        raise DataError(
            f"the item {item.name} shows other ground than it says: its raster lies at "
            f"{there.x:.3f}, {there.y:.3f}, its footprint at {said.x:.3f}, {said.y:.3f} (degrees). "
            "Its projection is wrong: leave it out with another --datetime, or tell its owner"
        )
    return found


def _open(item: Found, href: str, clean: str, how: Reading) -> tuple[Reference, bool]:
    """One raster of an item, and whether it has a mask or an alpha band."""
    single = (1, 1, 1) if len(item.hrefs) == 3 else None
    with open_raster(href) as dataset:
        if not how.any_href:
            check_driver(item.name, clean, dataset.driver)
        bands = choose_bands(dataset, single or how.bands or item.bands)
        check_type(dataset, bands, how.scale)
        masked = is_masked(dataset, bands)
        by_value = MaskFlags.nodata in dataset.mask_flag_enums[bands[0] - 1]
        place = Placement.of(dataset)
    return Reference(clean, bands, how.scale, masked, place), masked and not by_value


def read_item(item: Found, found: Look, how: Reading, place: PixelGrid) -> Pixels:
    """uint8 (3, height, width) and validity (height, width) of an item on a block of the lattice.

    Copied where the item lies on the lattice, else averaged when it is more than twice as fine as
    the grid, cubic otherwise. Raises DataError, in one line, where it cannot be read.
    """
    if found.masks:
        return patiently(item, how, lambda hrefs: _masked(found, hrefs, place))
    shrink = found.rasters[0].placement.shrink(place)
    method = "average" if shrink is not None and max(shrink) > 2 else "cubic"
    data = patiently(item, how, lambda _: _load(item, found.bands, place, method))
    good: npt.NDArray[np.bool_] = np.asarray(np.isfinite(data).any(axis=0))
    low, high = how.scale or (0.0, 255.0)
    data = np.where(np.isfinite(data), data, low)
    bytes_ = np.rint((np.clip(data, low, high) - low) * (255 / (high - low)))
    return (bytes_ * good).astype(np.uint8), good


def _load(
    item: Found, bands: Sequence[int], place: PixelGrid, method: str
) -> npt.NDArray[np.float32]:
    """Three bands (3, height, width), NaN where there is none."""
    import odc.stac  # takes seconds

    names = [f"{name}.{band}" for name, band in zip(NAMES, bands, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries about each other
        loaded = odc.stac.load(
            [described(item, bands, place)],
            names,
            geobox=place.geobox,
            resampling=method,
            dtype="float32",
            nodata=float("nan"),
            patch_url=sign,
            fail_on_error=True,
        )
        return np.stack([loaded[name].values[0] for name in loaded.data_vars])


def described(item: Found, bands: Sequence[int], place: PixelGrid) -> pystac.Item:
    """An item with nothing but what is read: three assets, which may be one raster, all over.

    What a catalogue says of projections, types and nodata is left to the rasters themselves.
    """
    area = ground_of(place).buffer(1e-3)
    made = pystac.Item(
        "item", mapping(area), list(area.bounds), datetime(2000, 1, 1, tzinfo=UTC), {}
    )
    hrefs = item.hrefs * 3 if len(item.hrefs) == 1 else item.hrefs
    for name, href, band in zip(NAMES, hrefs, bands, strict=True):
        facts = {"bands": [{"name": f"{name}{number}"} for number in range(1, band + 1)]}
        made.add_asset(name, pystac.Asset(href, media_type="image/tiff", extra_fields=facts))
    return made


def _masked(found: Look, hrefs: Sequence[str], place: PixelGrid) -> Pixels:
    """An item with masks, which odc-stac does not look at."""
    parts = [
        Reference(href, one.bands, one.scale, one.masked, one.placement).read(place)
        for href, one in zip(hrefs, found.rasters, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    image = np.stack([pixels[0] for pixels, _ in parts])
    return image, np.logical_and.reduce([good for _, good in parts])


def patiently(item: Found, how: Reading, work: Callable[[Sequence[str]], T]) -> T:
    """What ``work`` gives for the item's signed addresses; once more where they have expired.

    Raises DataError for what cannot be read, without the signatures.
    """
    signed: list[str] = []
    try:
        with remote(how.timeout, how.requester_pays):
            try:
                signed = [sign(href) for href in item.hrefs]
                return work(signed)
            except (RasterioError, CPLE_BaseError, DataError) as error:
                if not (is_denied(error) and any(map(is_signed, item.hrefs))):
                    raise
                renew()
                signed = [sign(href) for href in item.hrefs]
                return work(signed)
    except (RasterioError, CPLE_BaseError) as error:
        raise unreadable(item.name, item.hrefs[0], error) from error
    except DataError as error:
        if isinstance(error.__cause__, RasterioError | CPLE_BaseError):
            raise unreadable(item.name, item.hrefs[0], error.__cause__) from error
        raise DataError(_clean(error, signed)) from error
    except UsageError as error:
        raise UsageError(_clean(error, signed)) from error


def _clean(error: GeodiffError, signed: Sequence[str]) -> str:
    """What an error says, with addresses free of signatures."""
    told = str(error)
    for href in signed:
        told = told.replace(href, clean_href(href))
    return told
