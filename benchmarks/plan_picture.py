"""Makes the picture of the polygons: a plan with words beside the mosaic that was laid out by it.

Run: python benchmarks/plan_picture.py docs/images/polygons.jpg [--plan plan.gpkg]

Draws five polygons of 900 x 900 m in California, writes them to --plan, paints them with the
shipped model (needs the extra text) and lays both beside each other. Class names that the model
knows stand in the plan as they are ("forest"), everything else in words.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from PIL import Image, ImageDraw, ImageFont
from shapely.geometry import Polygon

import geodiff

CORNER = 429_900.0, 3_772_500.0  # the south-west, in EPSG:32611
SIDE = 700  # pixels a side of either picture
LARGEST = 300_000  # bytes

Ring = list[tuple[float, float]]

# Metres east and north of the corner; later ones lie on top of earlier ones.
PLAN: list[tuple[str, str, Ring]] = [
    ("a dense suburb with houses along streets", "#d9a38f",
     [(0, 420), (480, 450), (560, 430), (600, 900), (0, 900)]),
    ("golfcourse", "#a5d18a", [(600, 900), (560, 430), (900, 400), (900, 900)]),
    ("forest", "#4f8f5b", [(0, 0), (430, 0), (470, 200), (400, 330), (480, 450), (0, 420)]),
    ("agricultural", "#e3d59a",
     [(430, 0), (790, 0), (790, 410), (560, 430), (480, 450), (400, 330), (470, 200)]),
    ("harbor", "#7fb2d6",
     [(390, 350), (470, 290), (590, 330), (640, 430), (590, 540), (460, 560), (380, 470)]),
]  # fmt: skip


def drawn() -> geopandas.GeoDataFrame:
    """The plan as a table of polygons with words."""
    east, north = CORNER
    shapes = [Polygon([(east + x, north + y) for x, y in ring]) for *_, ring in PLAN]
    words = [text for text, *_ in PLAN]
    return geopandas.GeoDataFrame({"text": words}, geometry=shapes, crs="EPSG:32611")


def picture(affine: rasterio.Affine, width: int) -> Image.Image:
    """The polygons with their words, as they lie on the mosaic."""
    sheet = Image.new("RGB", (SIDE, SIDE), "#f4f4f4")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    scale = SIDE / width
    for _, colour, ring in PLAN:
        draw.polygon(placed(ring, affine, scale), fill=colour, outline="#444444")
    for text, _, ring in PLAN:
        across, down = np.mean(placed(ring, affine, scale), axis=0)
        lines = "\n".join(text[k : k + 40] for k in range(0, len(text), 40))
        draw.multiline_text((across, down), lines, "black", font, anchor="mm", align="center")
    across, down = placed([(845, 200)], affine, scale)[0]
    draw.multiline_text((across, down), "nothing", "#666666", font, anchor="mm")
    return sheet


def placed(ring: Ring, affine: rasterio.Affine, scale: float) -> list[tuple[float, float]]:
    """Pixels (across, down) of a ring on the picture."""
    east, north = CORNER[0] - affine.c, CORNER[1] - affine.f
    return [((x + east) / affine.a * scale, (y + north) / affine.e * scale) for x, y in ring]


def main() -> None:
    """Draw, paint, and lay side by side."""
    command = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    command.add_argument("out", type=Path)
    command.add_argument("--plan", type=Path)
    command.add_argument("--soft-border", type=float)
    command.add_argument("--seed", type=int, default=0)
    given = command.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan, mosaic = given.plan or Path(folder) / "plan.gpkg", Path(folder) / "mosaic.tif"
        drawn().to_file(plan)
        words = {"layout_file": plan, "attribute": "text", "soft_border": given.soft_border}
        geodiff.synthesize(mosaic, seed=given.seed, **words)
        with rasterio.open(mosaic) as dataset:
            pixels, affine, width = dataset.read(), dataset.transform, dataset.width
    painted = Image.fromarray(np.moveaxis(pixels, 0, -1)).resize((SIDE, SIDE), Image.LANCZOS)
    sheet = Image.new("RGB", (2 * SIDE + 10, SIDE), "white")
    sheet.paste(picture(affine, width), (0, 0))
    sheet.paste(painted, (SIDE + 10, 0))
    for quality in range(90, 30, -5):
        sheet.save(given.out, quality=quality, optimize=True)
        if given.out.stat().st_size <= LARGEST:
            break


if __name__ == "__main__":
    main()
