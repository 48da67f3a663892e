"""Makes pictures of the README and the model card: real chips above, their synthesis below.

Run: python benchmarks/pictures.py CHIP.tif ... docs/images/reference.png
     python benchmarks/pictures.py --gsd 0.3 CHIP.jpg ... docs/images/failures.jpg

The chips, of equal size, are the references; one without CRS needs its ground sample distance.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

import geodiff


def pixels(path: str | Path) -> NDArray[np.uint8]:
    """The first three bands, (3, row, col)."""
    with rasterio.open(path) as dataset:
        image: NDArray[np.uint8] = dataset.read((1, 2, 3))
    return image


def main() -> None:
    """Synthesize every chip and write the sheet."""
    command = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    command.add_argument("chips", nargs="+")
    command.add_argument("out", help="PNG or JPEG")
    command.add_argument("--gsd", type=float, help="metres a pixel of chips without CRS")
    given = command.parse_args()
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for number, chip in enumerate(given.chips):
            path = Path(folder) / f"{number}.tif"
            geodiff.synthesize(path, reference=chip, seed=number, gsd=given.gsd)
            made.append(pixels(path))
    real = np.concatenate([pixels(chip) for chip in given.chips], axis=2)
    sheet = np.concatenate([real, np.concatenate(made, axis=2)], axis=1)
    shape = {"height": sheet.shape[1], "width": sheet.shape[2]}
    driver = "PNG" if given.out.endswith(".png") else "JPEG"
    with rasterio.open(given.out, "w", driver=driver, count=3, dtype="uint8", **shape) as file:
        file.write(sheet)


if __name__ == "__main__":
    main()
