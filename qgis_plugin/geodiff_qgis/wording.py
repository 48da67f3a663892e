"""What geodiff says of its command line -> the words that stand in QGIS; no QGIS here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

PANEL = {
    "--bbox": "Extent", "--bbox-crs": "Extent", "--crs": "CRS", "--res": "Pixel size",
    "--reference": "A raster layer", "--bands": "Bands", "--scale": "Values",
    "--text": "Words", "--layout-file": "A polygon layer with words", "--layer": "Layer",
    "--attribute": "Field", "--soft-border": "Borders",
    "--stac": "Catalogue", "--collection": "Collection", "--datetime": "Dates",
    "--asset": "Asset", "--stac-requester-pays": "I pay for reading",
    "--embeddings": "A saved embedding grid", "--mode": "Mode",
    "--seed": "Seed", "--out": "Save to",
    "--model": "Set up .. > Model folder",
}  # fmt: skip
"""Option -> what it is called in the panel."""

TOOLBOX = {
    "--bbox": "EXTENT", "--bbox-crs": "EXTENT", "--crs": "CRS", "--res": "RES", "--like": "LIKE",
    "--reference": "RASTER", "--text": "TEXT", "--layout-file": "POLYGONS", "--attribute": "FIELD",
    "--soft-border": "SOFT_BORDER", "--stac": "STAC", "--collection": "COLLECTION",
    "--datetime": "DATETIME", "--asset": "ASSET", "--stac-requester-pays": "PAYS",
    "--embeddings": "EMBEDDINGS", "--mode": "MODE",
    "--layout": "LAYOUT", "--device": "DEVICE", "--seed": "SEED",
    "--weight": "WEIGHT", "--model": "MODEL", "--out": "OUTPUT",
}  # fmt: skip
"""Option -> the parameter of an algorithm, where it has that one."""

ELSEWHERE = {
    r"pip install 'geodiff-mosaic\[(\w+)\]'":
        "install geodiff with the extra [{}] (Set up geodiff > Make an environment)",
    r"see `geodiff info`": "see Set up geodiff > Test",
    r"gdalwarp \S+ out\.tif": "Raster > Projections > Warp",
    r"gdal_translate -expand rgb \S+ out\.tif": "Raster > Conversion > PCT to RGB",
    r"give --restart to begin anew, or run the former command to finish that one":
        "choose another file, or Run again in the panel and answer No to begin anew",
}  # fmt: skip
"""Commands of a terminal -> where QGIS has the same."""

OPTION = re.compile(r"(?<![\w-])'?(--[a-z][a-z-]*)'?(?: [A-Z]+(?:,[A-Z]+)*(?![\w:]))?")
"""An option with the name of its value, such as ``--bbox W,S,E,N``; a real value stays."""

HELP = re.compile(r" \(see 'geodiff \w+ --help'\)")
CLAUSE = re.compile(r"(: |; |\. |[()])")
CHOICE = re.compile(r",? or |, (?!if |the )")
AHEAD = re.compile(r"(?:,? or |, )?")
VERB = re.compile(r"(?:give|use|choose|check|take|leave out|name|narrow|say which with) ")


def reworded(
    text: str, labels: Mapping[str, str], tr: Callable[[str], str] = lambda text: text
) -> str:
    """``text`` with every option as its label; what offers one without a label is left out.

    Where nothing else is offered, the option stays and is said to be one of the terminal. ``tr``
    translates what stands in ELSEWHERE.
    """
    for pattern, words in ELSEWHERE.items():

        def said(found: re.Match[str], to: str = tr(words)) -> str:
            return to.format(*found.groups())

        text = re.sub(pattern, said, text)
    text = HELP.sub("", text)
    text = re.sub(r"--bbox(?: and|,) --bbox-crs", "--bbox", text)
    return "".join(_clause(part, labels) for part in CLAUSE.split(text))


def _clause(clause: str, labels: Mapping[str, str]) -> str:
    """One clause: its choices that can be made, in the words of the labels."""
    if all(name in labels for name in OPTION.findall(clause)):
        return OPTION.sub(lambda found: f"“{labels[found[1]]}”", clause)
    ahead = AHEAD.match(clause)
    start = ahead.end() if ahead else 0
    choices = CHOICE.split(clause[start:])
    kept = [one for one in choices if all(name in labels for name in OPTION.findall(one))]
    if not any(one.strip() for one in kept):
        return OPTION.sub(lambda found: _told(found, labels), clause)
    verb = VERB.match(choices[0])
    if verb is not None and kept[0] is not choices[0] and VERB.match(kept[0]) is None:
        kept[0] = verb[0] + kept[0]
    joined = " or ".join(filter(None, (", ".join(kept[:-1]), kept[-1])))
    return clause[:start] + OPTION.sub(lambda found: f"“{labels[found[1]]}”", joined)


def _told(found: re.Match[str], labels: Mapping[str, str]) -> str:
    """An option as its label, or as one that only a terminal has."""
    name = found[1]
    return f"“{labels[name]}”" if name in labels else f"{found[0]} in a terminal"
