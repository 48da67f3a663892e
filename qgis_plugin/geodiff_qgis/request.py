"""What geodiff is asked for, as one frozen record, and the words of its command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

PLACE = ("model", "box", "crs", "res")
RASTER = ("bands", "scale")
CATALOGUE = ("stac", "collection", "datetime", "asset", "stac_requester_pays")
WORDS = ("text", "layout_file", "attribute", "layer", "soft_border")

PATHS = ("like", "reference", "embeddings", "first", "second", "stac", "layout_file", "model")
"""Fields that may name a file or folder, beside ``out``."""

TAKES = {
    "synthesize": (
        *("out", *PLACE, "like", "reference", *RASTER, "embeddings", *CATALOGUE, *WORDS),
        *("seed", "mode", "layout", "device", "overwrite", "restart"),
    ),
    "embed": ("out", *PLACE, "like", *RASTER, *CATALOGUE, "device", "overwrite"),
    "imagine": ("out", *PLACE, "like", *WORDS, "seed", "overwrite"),
    "mix": ("out", "weight", "overwrite"),
}
"""Command -> the fields that it has options for, in the order in which they are written."""

POSITIONAL = {"embed": ("reference",), "mix": ("first", "second")}
"""Command -> the fields that are written without an option, before all others."""

MODES = ("balanced", "fast", "quality", "paper")
LAYOUTS = ("auto", "single", "world")
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Box:
    """A rectangle in a CRS, x before y whatever the CRS says of its axes.

    Raises ValueError for one without area.
    """

    west: float
    south: float
    east: float
    north: float
    crs: str = "EPSG:4326"  # an EPSG code or WKT

    def __post_init__(self) -> None:
        if not (self.west < self.east and self.south < self.north):
            raise ValueError(f"the box {self.word} has no area")

    @property
    def word(self) -> str:
        """The four edges as one word, to the last digit."""
        return ",".join(
            repr(float(edge)) for edge in (self.west, self.south, self.east, self.north)
        )


@dataclass(frozen=True)
class Request:
    """One call of geodiff; fields bear the names of its options, None leaves one out.

    Paths are absolute: the child runs in a folder of its own. Raises ValueError for a field that
    the command has no option for, so that nothing a user chose is dropped in silence.
    """

    command: str  # one of TAKES
    out: str  # the file to write
    box: Box | None = None  # None: all of the source
    crs: str | None = None  # of the output
    res: float | None = None  # pixel size in units of the output's CRS
    like: str | None = None  # a raster whose grid is taken exactly
    reference: str | None = None  # a raster to go by; of embed: the raster to embed
    bands: tuple[int, int, int] | None = None  # red, green and blue, from 1
    scale: tuple[float, float] | None = None  # values that become 0 and 255
    embeddings: str | None = None  # a saved grid to go by
    first: str | None = None  # of mix: the grid that is turned
    second: str | None = None  # of mix: the grid that it is turned to
    weight: float | None = None  # of the second one, 0 to 1
    stac: str | None = None  # a catalogue to go by
    collection: tuple[str, ...] = ()
    datetime: str | None = None
    asset: str | None = None  # the image of an item, or three of them
    stac_requester_pays: bool = False
    text: str | None = None  # words to go by
    layout_file: str | None = None  # polygons to go by
    attribute: str | None = None
    layer: str | None = None
    soft_border: float | None = None  # metres
    seed: int | None = None
    mode: str | None = None
    layout: str | None = None
    device: str | None = None
    model: str | None = None  # a directory; None: the model that comes with geodiff
    overwrite: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        if self.command not in TAKES:
            raise ValueError(f"geodiff {self.command} is not known here: {', '.join(TAKES)}")
        taken = {"command", *TAKES[self.command], *POSITIONAL.get(self.command, ())}
        for field in fields(self):
            if field.name not in taken and getattr(self, field.name) not in (None, (), False):
                raise ValueError(f"geodiff {self.command} has no option {option(field.name)}")

    def words(self) -> list[str]:
        """The words after the program's name; a value never looks like an option of its own."""
        words = [self.command]
        given = [getattr(self, name) for name in POSITIONAL.get(self.command, ())]
        words += [value for value in given if value is not None]
        for name in TAKES[self.command]:
            value = getattr(self, name)
            if value is None or value is False:
                continue
            if isinstance(value, Box):
                words += [f"--bbox={value.word}", f"--bbox-crs={value.crs}"]
            elif value is True:
                words.append(option(name))
            elif name == "collection":
                words += [f"--collection={part}" for part in value]
            elif isinstance(value, tuple):
                words.append(f"{option(name)}={','.join(map(str, value))}")
            else:
                words.append(f"{option(name)}={value}")
        return words

    def but(self, **changes: Any) -> Request:
        """The same with other fields."""
        return replace(self, **changes)

    def absolute(self) -> Request:
        """The same with whole paths, as seen from the folder of this process.

        What names no file here, such as a catalogue's address, stays as it is.
        """
        named = {name: getattr(self, name) for name in PATHS}
        found = {name: os.path.abspath(path) for name, path in named.items() if _exists(path)}
        return self.but(out=os.path.abspath(self.out), **found)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is not set."""
        return {k: v for k, v in asdict(self).items() if v not in (None, (), False)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """What ``as_dict`` gave, also after JSON; raises ValueError or TypeError otherwise."""
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        if given.get("box") is not None:
            given["box"] = Box(**given["box"])
        return cls(**given)


def _exists(path: str | None) -> bool:
    return path is not None and os.path.exists(path)


def option(name: str) -> str:
    """A field's name as it is typed."""
    return "--" + name.replace("_", "-")
