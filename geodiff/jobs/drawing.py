"""Labelled polygons of a user -> what a model's prior is asked for, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from geodiff.errors import DataError, UsageError
from geodiff.jobs.mosaic import values
from geodiff.jobs.prompt import check_guidance, check_words, guidance_words, vocabulary, wishes_of
from geodiff.models.text import GUIDANCE, LONGEST

if TYPE_CHECKING:
    from geodiff.geo.grid import PixelGrid
    from geodiff.geo.vector import LabelledPolygons
    from geodiff.jobs.request import SynthesizeRequest
    from geodiff.models.bundle import Model
    from geodiff.models.prior_condition import Condition

MOST_TEXTS = 1000
"""Different texts of one drawing: each is embedded for itself, and the table is kept in memory."""

T = TypeVar("T")


@dataclass(frozen=True)
class Drawing:
    """Polygons with words: a vector file or what was read from one, and how strictly to follow.

    Raises UsageError for a guidance out of range.
    """

    source: str | LabelledPolygons
    attribute: str | None = None
    layer: str | None = None
    soft_border: float | None = None  # ground metres; None: hard
    guidance: float | None = None  # None: the default of priors

    def __post_init__(self) -> None:
        check_guidance(self.guidance)

    @property
    def polygons(self) -> LabelledPolygons:
        """The polygons. Raises UsageError and DataError for what cannot be used."""
        if not isinstance(self.source, str):
            found = self.source
        else:
            found = read_once(self.source, state_of(self.source), self.attribute, self.layer)
        check_texts(found.name, self.attribute, found.distinct)
        return found

    @property
    def words(self) -> str:
        """The drawing for a plan or a tag, with a digest of its content."""
        found = self.polygons
        parts = [f"layer {self.layer}"] if self.layer else []
        parts += [f"attribute {self.attribute}"] if self.attribute else []
        count, texts = len(found.texts), len(found.distinct)
        parts += [f"{count} polygon{plural(count)} with {texts} text{plural(texts)}"]
        parts += [f"SHA-256 {found.digest[:16]}"]
        name = found.name if isinstance(self.source, str) else "in memory"
        return f"polygons {name} ({', '.join(parts)}){self.manner}"

    @property
    def manner(self) -> str:
        """How the polygons are followed, where that is not the default."""
        soft = f", soft border {self.soft_border:g} m" if self.soft_border else ""
        return f"{soft}{guidance_words(self.guidance)}"

    @property
    def identity(self) -> str:
        """All that the drawing says, whatever the file that says it is called."""
        return f"polygons (SHA-256 {self.polygons.digest}){self.manner}"

    @property
    def derived_from(self) -> tuple[str, ...]:
        """The file, where there is one."""
        return (self.source,) if isinstance(self.source, str) else ()

    def check(self, model: str | None) -> None:
        """Refuse what the model (a directory, None: the shipped one) cannot do; loads no network.

        Raises UsageError for a prior without the words, ModelError where the extra ``text`` is
        missing, and what :attr:`polygons` raises.
        """
        name, labels = vocabulary(model)
        if name is not None and any(text not in labels for text in self.polygons.distinct):
            check_words("--layout-file", name, model)

    def condition(self, model: Model, grid: PixelGrid, seed: int) -> Condition:
        """What the prior is asked for at the cells of the lattice of ``grid``.

        ``seed`` draws soft borders. Raises DataError where no polygon lies in ``grid``.
        """
        from geodiff.geo.cover import Cover
        from geodiff.jobs.mosaic.wishes import Wishes
        from geodiff.models.prior_condition import Condition

        cover = Cover(self.polygons, grid, model.cell)
        cover.check_inside()
        scale = GUIDANCE if self.guidance is None else self.guidance
        wishes = wishes_of(model, self.polygons.distinct, "--layout-file")
        return Condition(wishes, Wishes(cover, self.soft_border, seed), scale)


@lru_cache(maxsize=2)
def read_once(
    path: str, state: object, attribute: str | None, layer: str | None
) -> LabelledPolygons:
    """The polygons of a file, kept until another ``state`` of it is asked for."""
    from geodiff.geo.vector import read_polygons

    return read_polygons(path, attribute, layer)


def state_of(path: str) -> tuple[tuple[str, int, int], ...]:
    """Size and time of a file and of those that belong to it: .shp has a .dbf, .gpkg a -wal.

    Empty for what is not local, which is therefore read once a process.
    """
    file = Path(path)
    try:
        beside = [*file.parent.glob(f"{escape(file.stem)}.*"), *file.rglob("*")]
        facts = [(str(member), member.stat()) for member in sorted(beside)]
    except (OSError, ValueError):
        return ()
    return tuple((name, fact.st_size, fact.st_mtime_ns) for name, fact in facts)


def check_texts(name: str, attribute: str | None, texts: Sequence[str]) -> None:
    """Raises DataError for a text that is too long and for too many of them."""
    if len(texts) > MOST_TEXTS:
        raise DataError(
            f"{name} has {len(texts)} different texts in {attribute}, more than {MOST_TEXTS}: use "
            "the same words for what should look alike"
        )
    for text in texts:
        if len(text) > LONGEST:
            raise DataError(
                f'{name}: the text "{text[:40]}..." in {attribute} has {len(text)} characters, the '
                f"sentence encoder reads about {LONGEST}: say it in a sentence or two"
            )


def plural(count: int) -> str:
    """The ending of a noun."""
    return "" if count == 1 else "s"


def layout_file(option: str, value: Any) -> Any:
    """The path of a vector file, or polygons in memory."""
    if hasattr(value, "geometry") or hasattr(value, "digest"):
        return value
    return values.path(option, value)


def hold(request: Any) -> None:
    """Check a request's options of polygons, and read a GeoDataFrame that it holds, in place."""
    given = request.layout_file
    if given is None:
        told = {"attribute": request.attribute, "layer": request.layer}
        told |= {"soft-border": request.soft_border}
        for name, value in told.items():
            if value is not None:
                raise UsageError(
                    f"--{name} {value} is about labelled polygons: give --layout-file FILE, or "
                    "leave it out"
                )
    elif hasattr(given, "geometry"):
        from geodiff.geo.vector import read_polygons

        found = read_polygons(given, request.attribute, request.layer)
        object.__setattr__(request, "layout_file", found)


def placed(request: SynthesizeRequest) -> SynthesizeRequest:
    """The request with the bounds of its polygons as its box, where it names no other place.

    Raises what reading the polygons raises, and DataError for both sides of the antimeridian.
    """
    drawing = request.drawing
    if drawing is None or request.bbox or request.like:
        return request
    found = drawing.polygons
    west, _, east, _ = found.bounds
    if found.crs.proj.is_geographic and east - west > 180:
        raise DataError(
            f"the polygons of {found.name} do not give a box to fill, they reach from {west:g} to "
            f"{east:g} degrees: give one with --bbox"
        )
    return replace(request, bbox=found.bounds, bbox_crs=found.crs.proj.to_wkt())
