"""Takes the pictures of docs/qgis.md: a whole QGIS under Xvfb, clicked through by visit.py.

Run: GEODIFF_EXECUTABLE=.. python tests/qgis/pictures.py docs/images --scene SCENE.tif [--only NAME]

qgis.jpg is the window after a run that goes by the scene (its first three bands), in a box in its
middle; qgis-plan.jpg the polygons of benchmarks/plan_picture.py at half their size (450 x 450 m),
the mosaic that they laid out, and the panel. Needs what .ci/qgis installs, and this Python needs
geodiff with the extra dev.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import rasterio
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

LARGEST = 380_000  # bytes
MIDDLE = (0.27, 0.22, 0.73, 0.97)
"""The box that is painted, as shares of the scene's width and height from its lower left."""


def scene_picture(scene: Path, folder: Path, program: str) -> Image.Image:
    """The whole window, with the mosaic in its frame on the scene."""
    from tests.qgis.test_desktop import visit

    layer = folder / "naip.tif"
    with rasterio.open(scene) as dataset:
        profile = {"driver": "GTiff", "crs": dataset.crs, "transform": dataset.transform}
        shape = {"width": dataset.width, "height": dataset.height, "count": 3, "dtype": "uint8"}
        with rasterio.open(layer, "w", photometric="RGB", **profile, **shape) as colours:
            colours.write(dataset.read([1, 2, 3]))
        west, south, east, north = dataset.bounds
        pixel = dataset.res[0]
    across, up = (east - west) / pixel, (north - south) / pixel
    box = [
        west + pixel * round(MIDDLE[0] * across), south + pixel * round(MIDDLE[1] * up),
        west + pixel * round(MIDDLE[2] * across), south + pixel * round(MIDDLE[3] * up),
    ]  # fmt: skip
    asked = {"folder": str(folder), "layer": str(layer), "box": box, "seed": 7, "mode": 0}
    asked |= {"size": [1360, 860], "name": "painted.tif", "patience": 1500}
    print(visit(folder / "home", program, asked))
    return Image.open(folder / "done.png")


def plan_picture(folder: Path, program: str) -> Image.Image:
    """The map with the plan, the map with the mosaic, and the panel."""
    from plan_picture import CORNER, drawn  # benchmarks/plan_picture.py

    from tests.qgis.test_desktop import visit

    plan = drawn()
    plan.geometry = plan.geometry.scale(0.5, 0.5, origin=CORNER)
    plan.to_file(folder / "plan.gpkg")
    asked = {"folder": str(folder), "layer": str(folder / "plan.gpkg"), "seed": 0, "mode": 0}
    asked |= {"size": [1360, 860], "name": "plan_painted.tif", "patience": 1500}
    report = visit(folder / "home", program, asked)
    print(report)
    before, after = Image.open(folder / "plan.png"), Image.open(folder / "done.png")
    parts = [before.crop(report["map"]), after.crop(report["map"]), after.crop(report["panel"])]
    sheet = Image.new("RGB", (sum(p.width for p in parts) + 20, max(p.height for p in parts)))
    sheet.paste("white", (0, 0, *sheet.size))
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width + 10
    return sheet


def main() -> None:
    """Take both, or one of them."""
    command = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    command.add_argument("out", type=Path)
    command.add_argument("--scene", type=Path, required=True)
    command.add_argument("--only", choices=["qgis", "qgis-plan"])
    given = command.parse_args()
    program = os.environ["GEODIFF_EXECUTABLE"]
    taken: dict[str, Callable[[Path], Image.Image]] = {
        "qgis": lambda folder: scene_picture(given.scene, folder, program),
        "qgis-plan": lambda folder: plan_picture(folder, program),
    }
    for name, take in taken.items():
        if given.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(prefix="mosaics-") as folder:
            picture, path = take(Path(folder)).convert("RGB"), given.out / f"{name}.jpg"
        for quality in range(92, 30, -4):
            picture.save(path, quality=quality, optimize=True)
            if path.stat().st_size <= LARGEST:
                break


if __name__ == "__main__":
    main()
