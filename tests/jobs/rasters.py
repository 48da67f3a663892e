"""Small synthetic rasters and data sets for the tests of whole jobs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from geodiff.jobs.prepare import PrepareConfig, prepare

UTM = Affine(0.6, 0.0, 500000.4, 0.0, -0.6, 4100000.4)


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Stripes, a slope and noise, uint8 (3, height, width); each seed has a look of its own."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[:height, :width]
    turn, period = rng.uniform(0, np.pi), rng.uniform(6, 20)
    wave = np.sin((row * np.cos(turn) + col * np.sin(turn)) * 2 * np.pi / period)
    colour, slope = rng.uniform(40, 200, (3, 1, 1)), rng.uniform(-0.2, 0.2, (3, 1, 1))
    image = colour + 40 * wave + slope * (row - col) + rng.normal(0, 6, (3, height, width))
    return np.clip(image, 0, 255).astype(np.uint8)


def write_raster(
    path: Path,
    pixels: NDArray[np.uint8],
    crs: str | None = "EPSG:32610",
    transform: Affine = UTM,
    nodata: float | None = None,
) -> Path:
    """Write (band, row, col) as GeoTIFF or PNG; ``crs`` None leaves it without a place."""
    place = {} if crs is None else {"crs": crs, "transform": transform}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="PNG" if path.suffix == ".png" else "GTiff",
            dtype=pixels.dtype,
            count=len(pixels),
            height=pixels.shape[1],
            width=pixels.shape[2],
            nodata=nodata,
            **place,
        ) as dataset:
            dataset.write(pixels)
    return path


def read_raster(path: Path | str) -> NDArray[np.uint8]:
    """All bands (band, row, col)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            pixels: NDArray[np.uint8] = dataset.read()
    return pixels


def make_dataset(folder: Path, sources: int = 12, patch: int = 64, **options: float) -> Path:
    """A prepared data set of ``sources`` textures of 2 x 2 patches, with places in both splits."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for seed in range(sources):
        write_raster(raw / f"place{seed:02d}.tif", texture(2 * patch, 2 * patch, seed))
    config = PrepareConfig(patch=patch, val_fraction=options.get("val_fraction", 0.3))
    for _ in prepare([str(raw)], folder / "set", config):
        pass
    return folder / "set"
