"""Everything a mosaic can be asked for, as one frozen record that command line and Python share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodiff.errors import UsageError
from geodiff.geo.catalogues import ORDERS, SECONDS
from geodiff.jobs.drawing import Drawing, hold, layout_file
from geodiff.jobs.mosaic import values
from geodiff.jobs.mosaic.catalogue import Catalogue
from geodiff.jobs.mosaic.conflicts import (
    check_box_options,
    check_charts,
    check_size,
    check_source,
)
from geodiff.jobs.prompt import Prompt

if TYPE_CHECKING:
    from geodiff.geo.embeddings import EmbeddingGrid
    from geodiff.geo.vector import LabelledPolygons

MODES = ("paper", "quality", "balanced", "fast")
FILLS = ("nearest", "stop")
DEVICES = ("auto", "cpu", "cuda", "mps")
LAYOUTS = ("auto", "single", "world")
PRECISIONS = ("auto", "bf16", "fp32")
CHART = 2048
"""Pixels a side of a world chart where nobody asks for another."""


@dataclass(frozen=True)
class SynthesizeRequest:
    """One mosaic: where, from what, how, and where to.

    The grid comes from ``like``, else from ``size``, else from ``bbox`` with ``crs`` and ``res``,
    else from the reference itself (kept to the bit), else from the embedding grid, else from the
    bounds of the polygons. The embeddings come from ``reference``, from ``embeddings``, or from the
    model's prior, which follows ``text`` or the polygons of ``layout_file`` if they are given (a
    GeoDataFrame is read at once and kept as LabelledPolygons). Paths may be given as pathlib.Path,
    boxes and the like as any sequence or array, a CRS as an EPSG number or an object with
    ``to_wkt``. Raises UsageError for combinations that make no sense.
    """

    out: str  # the COG to write
    model: str | None = None  # a model directory; None is the one shipped with the package
    bbox: tuple[float, float, float, float] | None = None  # west, south, east, north
    bbox_crs: str | None = None  # CRS of bbox; None: EPSG:4326
    crs: str | None = None  # CRS of the output; None: the reference's, else UTM of the centre
    res: float | None = None  # units of the output CRS; None: the reference's, else the model's
    like: str | None = None  # a raster whose grid the output takes to the bit
    size: tuple[int, int] | None = None  # width, height in pixels of a mosaic without a CRS
    reference: str | None = None  # a raster to embed
    bands: tuple[int, int, int] | None = None  # bands of the reference, from 1; None: 1,2,3
    scale: tuple[float, float] | None = None  # values of the reference that become 0 and 255
    embeddings: str | EmbeddingGrid | None = None  # written by `geodiff embed`, or in memory
    fill: str | None = None  # cells the source does not cover: nearest valid cell (None), or stop
    gsd: float | None = None  # metres per pixel of a grid without CRS; None: the model's
    seed: int = 0  # of the noise, and of the prior unless prior_seed is given; 0 .. 2**63 - 1
    prior_seed: int | None = None  # of the prior alone
    text: str | None = None  # words that the model's prior follows (extra `text`)
    layout_file: str | LabelledPolygons | None = None  # vector file of polygons with words
    attribute: str | None = None  # the one that holds the words
    layer: str | None = None  # of the vector file, where it has several
    soft_border: float | None = None  # ground metres in which polygons mix; None: hard borders
    stac: str | None = None  # address, path or short name of a STAC catalogue to go by
    collection: tuple[str, ...] = ()  # its collections; alone: those of the Planetary Computer
    datetime: str | None = None  # of its items: a date, or A/B; None: all
    asset: str | None = None  # of its items, or three between commas; None: that with the colours
    stac_order: str = ORDERS[0]  # which of several images of one ground is taken
    stac_timeout: float = SECONDS  # seconds that its servers have for an answer
    stac_requester_pays: bool = False  # agree to pay for what is read from a bucket
    stac_any_href: bool = False  # read what a remote catalogue should not point to, such as files
    prompt_guidance: float | None = None  # how strictly it follows words; None: 3; 1 is plain
    mode: str = "balanced"
    steps: int | None = None  # solver steps; None: the mode's
    guidance: float | None = None  # guidance scale; None: the model's; 1 is none
    batch: int = 8  # windows a network call
    layout: str = "auto"  # single: one canvas; world: charts of the lattice; auto: by size
    chart: int | None = None  # pixels a side of a world chart, another mosaic each; None: CHART
    workers: int = 0  # processes of a local Dask cluster that paint charts; 0: this process alone
    scheduler: str | None = None  # address of a running Dask scheduler, tcp://host:port
    restart: bool = False  # begin anew where an unfinished mosaic lies
    device: str = "auto"
    precision: str = "auto"  # of the network; auto: bf16 where the processor has it
    overwrite: bool = False
    cog_profile: str = "zstd"
    co: tuple[str, ...] = ()  # NAME=VALUE creation options of GDAL's COG driver
    preview: str | None = None  # a PNG quick look to write as well
    command: str = ""  # the command line, for provenance

    def __post_init__(self) -> None:
        values.settle(self, KINDS)
        hold(self)
        check_source(self)
        scaled = self.crs is not None or self.res is not None
        if self.like and (self.bbox or scaled):
            raise UsageError(
                f"--like {self.like} already fixes the grid: leave out --bbox, --crs and --res"
            )
        placed = self.reference or self.embeddings or self.layout_file
        if not (self.bbox or self.like or self.size or placed):
            raise UsageError(
                "nothing says where the mosaic lies: give --bbox W,S,E,N, --like FILE, "
                "--reference FILE, --embeddings FILE or --layout-file FILE, or --size for one "
                "without a CRS"
            )
        if scaled and not (self.bbox or self.layout_file):
            raise UsageError("--crs and --res need --bbox; without it the source's grid is kept")
        check_box_options(self.bbox, self.bbox_crs, self.gsd)
        check_size(self)
        imagery = self.reference or self.catalogue
        if (self.bands or self.scale) and not imagery:
            raise UsageError(
                "--bands and --scale describe a reference: give --reference FILE or --stac"
            )
        for name, known in (
            ("mode", MODES), ("fill", FILLS), ("device", DEVICES), ("precision", PRECISIONS),
            ("layout", LAYOUTS),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value not in known:
                raise UsageError(f"--{name} {value} is unknown; choose {', '.join(known)}")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise UsageError(f"--steps {self.steps} must be between 1 and 1000")
        if self.guidance is not None and not 0 <= self.guidance <= 20:
            raise UsageError(f"--guidance {self.guidance} must be between 0 and 20")
        if self.prior_seed is not None and (imagery or self.embeddings):
            raise UsageError("--prior-seed lays out a mosaic without a source: leave it out")
        if self.fill is not None and not (imagery or self.embeddings):
            raise UsageError(
                f"--fill {self.fill} tells what to do where a source has no data: give "
                "--reference, --stac or --embeddings, or leave it out"
            )
        if self.batch < 1:
            raise UsageError(f"--batch {self.batch} must be at least 1")
        check_charts(self)

    @property
    def prompt(self) -> Prompt | None:
        """The words to go by."""
        return None if self.text is None else Prompt(self.text, self.prompt_guidance)

    @property
    def drawing(self) -> Drawing | None:
        """The labelled polygons to go by."""
        if self.layout_file is None:
            return None
        which = self.layout_file, self.attribute, self.layer
        return Drawing(*which, self.soft_border, self.prompt_guidance)

    @property
    def catalogue(self) -> Catalogue | None:
        """The STAC search to go by."""
        return Catalogue.of(self)

    @property
    def wants_charts(self) -> bool:
        """Whether something is asked for that only charts have: layout auto then takes them."""
        return bool(self.workers or self.scheduler or self.chart is not None)

    @property
    def sources(self) -> tuple[str, ...]:
        """Paths of files the mosaic is made from, which are never overwritten."""
        given = (self.reference, self.embeddings, self.like, self.layout_file)
        return tuple(str(Path(path)) for path in given if isinstance(path, str) and path)

    @property
    def embeddings_name(self) -> str:
        """The embeddings in words: their path, or that they are in memory."""
        return self.embeddings if isinstance(self.embeddings, str) else "embeddings in memory"

    @property
    def layout_name(self) -> str:
        """The polygons in words: the path of their file, or that they are in memory."""
        return self.layout_file if isinstance(self.layout_file, str) else "polygons in memory"

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all fields."""
        return tuple(field.name for field in fields(cls))


def embeddings(option: str, value: Any) -> str | EmbeddingGrid:
    """The path of an embedding grid, or the grid itself."""
    if isinstance(value, str):
        return value
    from geodiff.geo.embeddings import EmbeddingGrid

    if isinstance(value, EmbeddingGrid):
        return value
    return values.path(option, value)


PLACE: dict[str, values.Convert] = {
    "out": values.path, "model": values.path, "like": values.path, "bbox": values.BOX,
    "bbox_crs": values.crs, "crs": values.crs, "res": values.number, "gsd": values.metres,
    "bands": values.BANDS, "scale": values.RANGE, "device": values.text, "stac": values.path,
    "collection": values.texts, "datetime": values.text, "stac_timeout": values.number,
}  # fmt: skip
"""What `embed` and `synthesize` have in common."""

KINDS: dict[str, values.Convert] = PLACE | {
    "reference": values.path, "embeddings": embeddings, "text": values.text, "seed": values.seed,
    "prompt_guidance": values.number, "layout_file": layout_file,
    "attribute": values.text, "layer": values.text, "soft_border": values.metres,
    "size": values.SIZE, "prior_seed": values.seed, "steps": values.whole,
    "guidance": values.number, "batch": values.whole, "chart": values.whole,
    "workers": values.whole, "co": values.texts, "preview": values.path,
}  # fmt: skip
