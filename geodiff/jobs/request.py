"""Everything a mosaic can be asked for, as one frozen record that command line and Python share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from geodiff.errors import UsageError

MODES = ("balanced", "quality")
FILLS = ("nearest", "stop")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class SynthesizeRequest:
    """One mosaic: where, from what, how, and where to.

    The grid comes from ``like``, else from ``bbox`` with ``crs`` and ``res``, else from the
    reference itself (kept to the bit), else from the embedding grid. The embeddings come from
    ``reference``, from ``embeddings``, or from the model's prior when neither is given. Raises
    UsageError for combinations that make no sense.
    """

    out: str  # the COG to write
    model: str | None = None  # a model directory; None is the one shipped with the package
    bbox: tuple[float, float, float, float] | None = None  # west, south, east, north
    bbox_crs: str = "EPSG:4326"  # CRS of bbox
    crs: str | None = None  # CRS of the output; None: the reference's, else UTM of the centre
    res: float | None = None  # units of the output CRS; None: the reference's, else the model's
    like: str | None = None  # a raster whose grid the output takes to the bit
    reference: str | None = None  # a raster to embed
    bands: tuple[int, int, int] | None = None  # bands of the reference, from 1; None: 1,2,3
    scale: tuple[float, float] | None = None  # values of the reference that become 0 and 255
    embeddings: str | None = None  # an embedding grid written by `geodiff embed`
    fill: str = "nearest"  # cells the source does not cover: nearest valid cell, or stop
    seed: int = 0  # of the noise, and of the prior unless prior_seed is given
    prior_seed: int | None = None  # of the prior alone
    mode: str = "balanced"
    steps: int | None = None  # solver steps; None: the mode's
    guidance: float | None = None  # guidance scale; None: the model's; 1 is none
    batch: int = 8  # windows a network call
    device: str = "auto"
    precision: str = "auto"  # of the network; auto: bf16 where the processor has it
    overwrite: bool = False
    cog_profile: str = "zstd"
    co: tuple[str, ...] = ()  # NAME=VALUE creation options of GDAL's COG driver
    preview: str | None = None  # a PNG quick look to write as well
    command: str = ""  # the command line, for provenance

    def __post_init__(self) -> None:
        if self.reference and self.embeddings:
            raise UsageError(
                f"--reference {self.reference} and --embeddings {self.embeddings} are both given: "
                "a mosaic goes by one source, leave one out"
            )
        scaled = self.crs is not None or self.res is not None
        if self.like and (self.bbox or scaled):
            raise UsageError(
                f"--like {self.like} already fixes the grid: leave out --bbox, --crs and --res"
            )
        if not (self.bbox or self.like or self.reference or self.embeddings):
            raise UsageError(
                "nothing says where the mosaic lies: give --bbox W,S,E,N, --like FILE, "
                "--reference FILE or --embeddings FILE"
            )
        if not self.bbox and scaled:
            raise UsageError("--crs and --res need --bbox; without it the source's grid is kept")
        if (self.bands or self.scale) and not self.reference:
            raise UsageError("--bands and --scale describe a reference: give --reference FILE")
        for name, known in (
            ("mode", MODES), ("fill", FILLS), ("device", DEVICES), ("precision", PRECISIONS),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"--{name} {value} is unknown; choose {', '.join(known)}")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise UsageError(f"--steps {self.steps} must be between 1 and 1000")
        if self.guidance is not None and not 0 <= self.guidance <= 20:
            raise UsageError(f"--guidance {self.guidance} must be between 0 and 20")
        if self.prior_seed is not None and (self.reference or self.embeddings):
            raise UsageError("--prior-seed lays out a mosaic without a source: leave it out")
        if self.batch < 1:
            raise UsageError(f"--batch {self.batch} must be at least 1")

    @property
    def sources(self) -> tuple[str, ...]:
        """Paths of files the mosaic is made from, which are never overwritten."""
        given = (self.reference, self.embeddings, self.like)
        return tuple(str(Path(path)) for path in given if path)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all fields."""
        return tuple(field.name for field in fields(cls))
