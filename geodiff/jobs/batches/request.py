"""Everything a batch can be asked for, as one frozen record that command line and Python share."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from geodiff.errors import UsageError
from geodiff.geo.catalogues import ORDERS, SECONDS
from geodiff.geo.cog_options import check_options
from geodiff.geo.names import safe_name
from geodiff.jobs.mosaic import values
from geodiff.jobs.mosaic.catalogue import Catalogue
from geodiff.jobs.request import KINDS, SynthesizeRequest

WAYS = ("item", "cell")
ON_ERROR = ("skip", "fail")

PAINTING = (
    "model", "crs", "res", "bands", "scale", "fill", "mode", "steps", "guidance", "batch", "chart",
    "device", "precision", "cog_profile", "co", "command",
)  # fmt: skip
"""Fields that go to every mosaic as they are."""

SEARCHING = (
    "stac", "collection", "datetime", "asset", "stac_order", "stac_timeout", "stac_requester_pays",
    "stac_any_href",
)  # fmt: skip
"""Fields about a catalogue, which a mosaic has as well."""


@dataclass(frozen=True)
class BatchRequest:
    """A twin of each item of a STAC search, or a mosaic of each cell, as a static STAC collection.

    Raises UsageError for combinations that make no sense.
    """

    out_dir: str  # folder, or an address that fsspec knows
    stac: str | None = None  # address, path or short name of a STAC catalogue
    collection: tuple[str, ...] = ()  # its collections; alone: those of the Planetary Computer
    datetime: str | None = None  # of its items: a date, or A/B; None: all
    bbox: tuple[float, float, float, float] | None = None  # in degrees; twins are cut at it
    items: str | None = None  # file of items instead of a search
    cells: str | None = None  # vector file; by cell
    layer: str | None = None  # of the vector file, where it has several
    cell_id: str | None = None  # its attribute with names; None: cells are numbered
    by: str | None = None  # item or cell; None: cell with cells, else item
    variants: int = 1  # seeds a unit
    seed: int = 0  # of the first variant; those of the others follow from it
    asset: str | None = None  # these as in SynthesizeRequest
    stac_order: str = ORDERS[0]
    stac_timeout: float = SECONDS
    stac_requester_pays: bool = False
    stac_any_href: bool = False
    model: str | None = None
    crs: str | None = None  # None: the item's, the cells' where it is projected, else UTM
    res: float | None = None  # None: the item's, else the model's
    bands: tuple[int, int, int] | None = None
    scale: tuple[float, float] | None = None
    fill: str | None = None
    mode: str = "balanced"
    steps: int | None = None
    guidance: float | None = None
    batch: int = 8
    chart: int | None = None
    device: str = "auto"
    precision: str = "auto"
    cog_profile: str = "zstd"
    co: tuple[str, ...] = ()
    workers: int = 0  # processes of this machine, a unit each; 0: this process alone
    scheduler: str | None = None  # address of a running Dask scheduler
    retries: int = 2  # further attempts at a unit that fails
    on_error: str = "skip"  # a unit that fails: go on without it (skip), or stop (fail)
    overwrite: bool = False  # make units anew that another request made
    recheck: bool = False  # read all files again, also those that have not changed
    name: str | None = None  # id of the collection; None: the name of out_dir
    vrt: bool = False  # write a virtual raster over all twins as well
    publish: str | None = None  # STAC API that takes the items
    public_url: str | None = None  # where others find out_dir; None: out_dir is an address
    work_dir: str | None = None  # local folder to paint in where out_dir is remote
    command: str = ""  # the command line, for provenance

    def __post_init__(self) -> None:
        values.settle(self, BATCH)
        for option, value, known in (
            ("--by", self.by, WAYS), ("--on-error", self.on_error, ON_ERROR),
        ):  # fmt: skip
            if value is not None and value not in known:
                raise UsageError(f"{option} {value} is unknown; choose {', '.join(known)}")
        if not 1 <= self.variants <= 1000:
            raise UsageError(f"--variants {self.variants} must be between 1 and 1000")
        if not 0 <= self.retries <= 20:
            raise UsageError(f"--retries {self.retries} must be between 0 and 20")
        check_source(self)
        check_place(self)
        check_output(self)
        shared: dict[str, Any] = {"workers": self.workers, "scheduler": self.scheduler}
        self.mosaic("twin.tif", self.seed, bbox=(0, 0, 1, 1), **shared)  # refuses nonsense

    @property
    def way(self) -> str:
        """What a unit is: item or cell."""
        return self.by or ("cell" if self.cells else "item")

    @property
    def remote(self) -> bool:
        """Whether the catalogue goes to another place than a folder of this computer."""
        return "://" in self.out_dir or self.out_dir.startswith("/vsi")

    @property
    def desk(self) -> Path:
        """The local folder in which units are painted, and locked."""
        if not self.remote:
            return Path(self.out_dir)
        if self.work_dir is not None:
            return Path(self.work_dir)
        digest = sha256(self.out_dir.encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"geodiff-{digest}"

    @property
    def collection_name(self) -> str:
        """Id of the collection that is written."""
        last = self.out_dir.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
        return self.name or safe_name(last if last not in ("", ".", "..") else "twins")

    @property
    def catalogue(self) -> Catalogue | None:
        """The search for items, or the file of items as if it were one."""
        if self.items is None:
            return Catalogue.of(self)
        return Catalogue(
            Path(self.items).absolute().as_uri(), ("items",), None, self.asset,
            timeout=self.stac_timeout, requester_pays=self.stac_requester_pays,
            any_href=self.stac_any_href, bands=self.bands, scale=self.scale,
        )  # fmt: skip

    def mosaic(self, out: str, seed: int, **place: Any) -> SynthesizeRequest:
        """The request of one mosaic; ``place`` are its fields about where it lies."""
        fields = {name: getattr(self, name) for name in (*PAINTING, *SEARCHING)}
        if (catalogue := self.catalogue) is not None:
            fields |= {"stac": catalogue.url, "collection": catalogue.collections}
        own = {"out": out, "seed": seed, "layout": "world", "overwrite": True}
        return SynthesizeRequest(**{**fields, **own, **place})


def check_source(request: BatchRequest) -> None:
    """Raises UsageError unless the request names what there is to make, once."""
    searched = request.stac is not None or bool(request.collection)
    if request.way == "cell":
        if request.cells is None:
            raise UsageError("--by cell needs the cells: give --cells FILE")
        if request.items is not None:
            raise UsageError("--items are units by themselves: leave out --cells, or give --stac")
    else:
        if request.cells is not None:
            raise UsageError("--cells are no items: leave out --by item")
        for option in ("layer", "cell_id"):
            if getattr(request, option) is not None:
                raise UsageError(f"--{option.replace('_', '-')} describes cells: give --cells FILE")
        if request.stac_order != ORDERS[0]:
            raise UsageError("--stac-order chooses between items, but each is a unit: leave it out")
        if request.items is not None and (searched or request.datetime is not None):
            raise UsageError(
                "--items stand instead of a search: leave out --stac, --collection and --datetime"
            )
        if request.items is None and not searched:
            raise UsageError(
                "nothing says what to make: give --stac URL, --items FILE or --cells FILE"
            )
    request.catalogue  # noqa: B018  (refuses what makes no sense)


def check_place(request: BatchRequest) -> None:
    """Raises UsageError for options about where the output goes that make no sense."""
    if not request.out_dir.strip():
        raise UsageError("--out-dir is empty: give a folder, or an address such as s3://bucket/a")
    if request.name is not None and safe_name(request.name) != request.name:
        raise UsageError(
            f"--name {request.name!r} must be letters, digits, '.', '_' and '-', at most 100"
        )
    if request.work_dir is not None and not request.remote:
        raise UsageError("--work-dir is for an --out-dir behind an address: leave it out")
    if request.publish is None and request.public_url is not None:
        raise UsageError("--public-url is for --publish: leave it out, or give that too")
    if request.public_url is not None and "://" not in request.public_url:
        raise UsageError(
            f"--public-url {request.public_url} is no address: give one such as https://..."
        )
    if request.publish is not None and not request.publish.startswith(("http://", "https://")):
        raise UsageError(f"--publish {request.publish} is no address of an API (https://...)")
    if request.publish is not None and request.public_url is None and not request.remote:
        raise UsageError(
            "--publish needs to know where others find the files: give --public-url URL, the "
            f"address under which {request.out_dir} is served"
        )


def check_output(request: BatchRequest) -> None:
    """Raises UsageError for mosaics that cannot be, whatever the source."""
    check_options(request.cog_profile, request.co)
    if request.res is not None and not 0 < request.res < math.inf:
        raise UsageError(f"--res {request.res:g} must be a number above 0, in units of the CRS")
    if request.crs is not None:
        from geodiff.geo.boxes import parse_crs  # takes a second

        parse_crs(request.crs)


SAME = (*PAINTING, *SEARCHING, "seed", "bbox")

BATCH: dict[str, values.Convert] = {
    **{name: kind for name, kind in KINDS.items() if name in SAME},
    "out_dir": values.path, "items": values.path, "cells": values.path, "layer": values.text,
    "cell_id": values.text, "variants": values.whole, "workers": values.whole,
    "retries": values.whole, "work_dir": values.path,
}  # fmt: skip
"""How fields may be given, as for SynthesizeRequest."""
