"""Makes the picture of the README: real chips above, their synthesis below.

Run: python benchmarks/pictures.py CHIP.tif ... docs/images/reference.png
"""

from __future__ import annotations

import sys
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
    *chips, out = sys.argv[1:]
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for number, chip in enumerate(chips):
            path = Path(folder) / f"{number}.tif"
            geodiff.synthesize(path, reference=chip, seed=number)
            made.append(pixels(path))
    real = np.concatenate([pixels(chip) for chip in chips], axis=2)
    sheet = np.concatenate([real, np.concatenate(made, axis=2)], axis=1)
    shape = {"height": sheet.shape[1], "width": sheet.shape[2]}
    with rasterio.open(out, "w", driver="PNG", count=3, dtype="uint8", **shape) as file:
        file.write(sheet)


if __name__ == "__main__":
    main()
