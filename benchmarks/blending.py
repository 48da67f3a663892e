"""Seams of blended decoding against overlap and weights, for codecs that see the whole window.

Run: python benchmarks/blending.py SCENE.tif ... --codec FOLDER [--strides 32:tent 16:gaussian ...]
     python benchmarks/blending.py SCENE.tif ... --codec FOLDER --train DATASET ... --minutes 15

FOLDER is the codec of a model (or the model) whose attention or norms see all of an image. Such a
codec is made by the second line from what `geodiff prepare` wrote, where FOLDER is not there yet:
an AutoencoderKL of factor 4 and some 0.8 million weights, with attention in its middle and group
norms, trained on the windows that it is decoded in. A few minutes make a blurred one, but what is
looked for does not depend on its quality: a window decoded by itself differs from the same pixels
of the whole image by brightness and contrast.

The middle of each scene is encoded, and its latents are decoded at once and, as `geodiff
synthesize` does it, in windows of --size latents that are blended. Per overlap and weights:

- ``lines``: gradient energy across the lines where windows begin and end, over that of the image
  decoded at once across the same lines: 1 is no seam. Being paired, it does not see the content.
- ``elsewhere``: the same for all other borders of latents: below 1 where blending blurs.
- ``seam``: the first over the second.
- ``differs``: root mean square of the difference to the image decoded at once, of 255 levels.

``x decoding`` are the pixels decoded for each pixel of a large mosaic.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scenes import Image
from sheet import side_by_side, table

from geodiff.diffusion import cover
from geodiff.geo.grid import raster_grid
from geodiff.geo.raster import Reference
from geodiff.jobs.datasets.dataset import CropSampler, PatchSet
from geodiff.jobs.mosaic.decoding import decode
from geodiff.jobs.mosaic.modes import Sampling, settings
from geodiff.models.bundle import Model, latent_statistics
from geodiff.models.directory import Directory
from geodiff.models.kinds import load_codec
from geodiff.models.parts import write_network
from geodiff.models.protocols import LatentCodec
from geodiff.models.torchvision_shim import ensure_torchvision
from geodiff.window import Window

ensure_torchvision()
from diffusers import AutoencoderKL  # noqa: E402  (needs the shim first)

STRIDES = ("64:uniform", "56:tent", "48:tent", "32:tent", "48:gaussian", "16:gaussian")
WIDTHS = (32, 64, 64)
"""Channels of each level of the codec that is trained."""


@dataclass(frozen=True)
class Part:
    """What decoding uses of a model."""

    codec: LatentCodec

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return torch.device("cpu")


def read_codec(folder: Path) -> LatentCodec:
    """The codec in its own folder or in that of a model. Ends with a line for a local one."""
    if (folder / "model.toml").is_file():
        folder = Directory(folder).path("codec")
    codec = load_codec(folder, *latent_statistics(folder))
    if codec.halo is not None:
        raise SystemExit(f"{folder}: this codec is local, its tiles are decoded exactly")
    return codec


def scene(path: str, side: int) -> Image:
    """The middle of a raster, (3, side, side)."""
    grid = raster_grid(path)
    height, width = grid.window.shape
    if min(height, width) < side:
        raise SystemExit(f"{path} is {width} x {height} px: give --side for smaller scenes")
    part = Window((height - side) // 2, (width - side) // 2, side, side)
    return Reference.open(path).read(grid, part)[0]


def blended(codec: LatentCodec, sampling: Sampling, latents: torch.Tensor) -> Image:
    """All of the latents, decoded in windows as a mosaic is."""
    canvas = Window(0, 0, *latents.shape[-2:])
    made = np.zeros((3, *canvas.zoom_in(codec.factor).shape), np.uint8)
    model = cast(Model, Part(codec))
    for window, pixels in decode(model, sampling, latents, canvas, canvas):
        rows, cols = window.within(canvas.zoom_in(codec.factor))
        made[:, rows, cols] = pixels
    return made


def borders(sampling: Sampling, canvas: Window, factor: int) -> list[NDArray[np.int64]]:
    """Rows, and columns, of pixels at which windows begin or end inside the canvas."""
    windows = cover(canvas, sampling.size, sampling.between, (0, 0))
    found = (
        {edge for w in windows for edge in (w.row, w.bottom)} - {canvas.row, canvas.bottom},
        {edge for w in windows for edge in (w.col, w.right)} - {canvas.col, canvas.right},
    )
    return [np.array(sorted(edges), np.int64) * factor for edges in found]


def energies(image: Image, axis: int) -> NDArray[np.float64]:
    """Mean squared difference across each line of an axis: entry i is before pixel i + 1."""
    values = np.moveaxis(image, 1 + axis, -1).astype(np.float64)
    return np.asarray(np.square(np.diff(values, axis=-1)).mean((0, 1)))


def compare(made: Image, whole: Image, lines: list[NDArray[np.int64]], factor: int) -> list[float]:
    """``lines``, ``elsewhere``, ``seam`` and ``differs``, as the docstring above has them."""
    at, beside = np.zeros(2), np.zeros(2)
    for axis, edges in enumerate(lines):
        places = np.arange(factor, made.shape[1 + axis], factor)
        chosen = np.isin(places, edges)
        pair = np.stack([energies(image, axis)[places - 1] for image in (made, whole)])
        at += pair[:, chosen].sum(1)
        beside += pair[:, ~chosen].sum(1)
    near, far = at[0] / at[1], beside[0] / beside[1]
    differs = np.sqrt(np.square(made.astype(np.float64) - whole).mean())
    return [float(near), float(far), float(near / far), float(differs)]


def train(datasets: Sequence[str], folder: Path, size: int, given: argparse.Namespace) -> None:
    """Train a codec that is not local for some minutes and write its folder."""
    torch.manual_seed(given.seed)
    net = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=WIDTHS, latent_channels=3, scaling_factor=1.0,
    )  # fmt: skip
    sets = tuple(PatchSet.open(dataset) for dataset in datasets)
    small, full = (CropSampler(sets, side, given.seed) for side in (size // 2, size))
    best = torch.optim.Adam(net.parameters(), 1e-3, betas=(0.9, 0.99))
    begun, step = time.monotonic(), 0
    while (spent := (time.monotonic() - begun) / (60 * given.minutes)) < 1:
        best.param_groups[0]["lr"] = 1e-3 * min(1.0, (step + 1) / 20) * (1 - 0.95 * spent)
        sampler = small if spent < 0.7 else full  # four times as many steps on half a window
        pixels = torch.from_numpy(sampler.batch(step, given.batch)[0]).permute(0, 3, 1, 2)
        real = pixels.float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
            made = net.decode(net.encode(real).latent_dist.mode()).sample
        loss = (made.float() - real).abs().mean()
        for axis in (2, 3):
            loss = loss + (made.float().diff(dim=axis) - real.diff(dim=axis)).abs().mean()
        best.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        best.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step}, loss {float(loss.detach()):.4f}", flush=True)
    write_network(net.eval(), folder)
    statistics = {"mean": [0.0] * 3, "std": [1.0] * 3}
    (folder / "latents.json").write_text(json.dumps(statistics))
    print(f"{folder}: {step} steps of {given.batch} windows", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="+", metavar="SCENE.tif")
    parser.add_argument("--codec", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, default=64, help="latents a side of a window")
    parser.add_argument("--side", type=int, default=768, help="pixels of each scene")
    parser.add_argument("--strides", nargs="+", default=STRIDES, metavar="LATENTS:WEIGHTS")
    parser.add_argument(
        "--train", nargs="+", metavar="DATASET", help="train the codec if it is not there"
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="of training")
    parser.add_argument("--batch", type=int, default=2, help="windows of a step of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, metavar="PNG", help="of the first scene")
    given = parser.parse_args()
    if given.train and not given.codec.exists():
        train(given.train, given.codec, given.size * 2 ** (len(WIDTHS) - 1), given)
    codec = read_codec(given.codec)
    plain = settings("quality", given.size, 1.0, 2)
    rows, pictures = [], {}
    held = []
    for path in given.scenes:
        real = scene(path, given.side)
        latents = codec.encode(torch.from_numpy(real)[None])
        held.append((latents, codec.decode(latents)[0].numpy()))
        differs = np.sqrt(np.square(real.astype(np.float64) - held[-1][1]).mean())
        print(f"{path}: at once {differs:.1f} levels from the real one", flush=True)
    pictures["at once"] = held[0][1]
    for spec in given.strides:
        stride, _, weights = spec.partition(":")
        sampling = replace(plain, decode_stride=int(stride), decode_weights=weights)
        figures = []
        for latents, whole in held:
            made = blended(codec, sampling, latents)
            canvas = Window(0, 0, *latents.shape[-2:])
            lines = borders(sampling, canvas, codec.factor)
            figures.append(compare(made, whole, lines, codec.factor))
            pictures.setdefault(spec, made)
        near, far, seam, differs = np.array(figures).T
        rows.append({
            "latents between windows": stride, "weights": weights,
            "x decoding": f"{(given.size / int(stride)) ** 2:.1f}",
            "lines": ", ".join(f"{v:.3f}" for v in near), "elsewhere": f"{far.mean():.3f}",
            "seam": f"{seam.mean():.3f}", "differs": f"{differs.mean():.2f}",
        })  # fmt: skip
        print(rows[-1], flush=True)
    print(table(rows))
    if given.picture is not None:
        side_by_side(given.picture, pictures, side=given.side)


if __name__ == "__main__":
    main()
