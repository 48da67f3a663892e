"""How far a chart must look around itself: disagreement inside its core against the halo.

Run: python benchmarks/halo.py [--mode balanced] [--core 64] [--halos 0 8 16 24 32 48 64] [--far 96]
     python benchmarks/halo.py --figures halo/halo.json --plot halo.png    draws a former run again

Two neighbouring charts are denoised with halos of growing width, windows restricted to each chart's
canvas, same noise and same field, and compared with one canvas that holds both and ``--far``
latents around them. Per halo, over the core of the left chart:

- ``max``, ``rms``: difference of latents over the root mean square of the latents; ``ring`` is the
  rms over the outermost RING latents of the core.
- ``levels``: largest and mean difference of decoded pixels, of 255.
- ``cut``: gradient energy across the line where both charts are cut hard, over that across the same
  line in one piece. 1 is no seam. Being paired, it does not see the content of the line.
- ``seam``: energy across the cut over that across the other latent borders of the two cores, and
  ``one piece`` the same of the large canvas: this one does see the content.

In bf16 the disagreement does not fall below the network's own rounding noise; --precision fp32
shows what the halo alone leaves.

The field is the prior's, or with --dataset a quilt of val chips (see scenes.py). Writes halo.md,
halo.json and the plot halo.png into --out; --plot puts the plot elsewhere.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from modes import parse
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scenes import quilts
from sheet import curves, table

from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.imagine import imagine
from geodiff.jobs.measures.seams import lines_of, seam_ratio
from geodiff.jobs.mosaic.decoding import decode
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.jobs.mosaic.sampling import conditions, denoise
from geodiff.models.bundle import Model
from geodiff.window import Window

RING = 4
"""Latents from the core's border inwards that count as its ring."""

Image = NDArray[np.uint8]
NONE = np.array([], np.int64)


class Charts:
    """Two neighbouring cores under one field, painted on canvases of any halo."""

    def __init__(self, model: Model, sampling: Sampling, given: argparse.Namespace) -> None:
        self.model, self.sampling, self.seed = model, sampling, given.seed
        core, far = given.core, given.far
        # At the far halo's distance from the lattice's origin, so that no position is negative.
        self.left = Window(far, far, core, core)
        self.right = Window(far, far + core, core, core)
        self.both = Window(far, far, core, 2 * core)
        side = self.both.pad(far).zoom_in(model.codec.factor)
        self.grid = PixelGrid(GeoBox(side.shape, Affine.identity(), None), 0, 0)
        self.gsd = model.gsd
        self.embeddings = self.field(given, max(side.shape))

    def field(self, given: argparse.Namespace, side: int) -> EmbeddingGrid:
        """The embeddings of all canvases."""
        if given.dataset is None:
            return imagine(self.model, self.grid, given.seed)
        patches = PatchSet.open(given.dataset)
        self.gsd = patches.gsd
        chip = patches.pixels.shape[1]
        whole = -(-side // chip) * chip
        return quilts(self.model, patches, whole**2 / 1e6, whole, given.seed)[0].embeddings

    def paint(self, core: Window, halo: int) -> tuple[torch.Tensor, Image]:
        """Latents (channel, row, col) and pixels (3, row, col) of a core with a halo."""
        canvas = core.pad(halo)
        known = conditions(self.model, self.sampling, self.embeddings, self.grid, canvas)
        state = torch.empty(0)
        for made in denoise(self.model, self.sampling, known, canvas, self.gsd, self.seed):
            state = made
        area = core.zoom_in(self.model.codec.factor)
        image = np.zeros((3, *area.shape), np.uint8)
        for window, pixels in decode(self.model, self.sampling, state, canvas, core):
            rows, cols = window.within(area)
            image[:, rows, cols] = pixels
        rows, cols = core.within(canvas)
        return state[0, :, rows, cols], image


def across(image: Image) -> float:
    """Mean squared difference of pixels across the middle column line of (3, row, col)."""
    middle = image.shape[2] // 2
    pair = image[:, :, middle - 1 : middle + 1].astype(np.float64)
    return float(np.square(np.diff(pair, axis=2)).mean())


def seam(image: Image, factor: int) -> float:
    """Energy across the middle column line over that across the other latent borders."""
    parts = [line for line in lines_of([image], [(0, 0)], factor) if line.axis == 1]
    return seam_ratio(parts, NONE, np.array([image.shape[2] // 2]))


def measure(charts: Charts, halos: list[int], far: int) -> list[dict[str, Any]]:
    """Figures of every halo."""
    whole, whole_pixels = charts.paint(charts.both, far)
    core, factor = charts.left.width, charts.model.codec.factor
    truth, pixels = whole[:, :, :core], whole_pixels[:, :, : core * factor]
    size = float(truth.square().mean().sqrt())
    ring = torch.ones(truth.shape[1:], dtype=torch.bool)
    ring[RING:-RING, RING:-RING] = False
    rows = []
    for halo in halos:
        latents, left = charts.paint(charts.left, halo)
        _, right = charts.paint(charts.right, halo)
        gap = latents - truth
        levels = np.abs(left.astype(np.int16) - pixels)
        cut = np.concatenate([left, right], axis=2)
        row = {
            "halo": halo,
            "max": float(gap.abs().max()) / size,
            "rms": float(gap.square().mean().sqrt()) / size,
            "ring": float(gap[:, ring].square().mean().sqrt()) / size,
            "levels_max": int(levels.max()),
            "levels_mean": float(levels.mean()),
            "cut": across(cut) / across(whole_pixels),
            "seam": seam(cut, factor),
            "one_piece": seam(whole_pixels, factor),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def shown(row: dict[str, Any], factor: int) -> dict[str, str]:
    """The cells of a row of the table."""
    return {
        "halo, latents (px)": f"{row['halo']} ({row['halo'] * factor})",
        "max": f"{row['max']:.4f}",
        "rms": f"{row['rms']:.5f}",
        "ring": f"{row['ring']:.5f}",
        "levels: max (mean)": f"{row['levels_max']} ({row['levels_mean']:.3f})",
        "cut": f"{row['cut']:.3f}",
        "seam": f"{row['seam']:.3f}",
        "one piece": f"{row['one_piece']:.3f}",
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--dataset")
    parser.add_argument("--mode", default="balanced", metavar="MODE[:field=value]...")
    parser.add_argument("--core", type=int, default=64, help="latents a side")
    parser.add_argument("--halos", type=int, nargs="+", default=[0, 8, 16, 24, 32, 48, 64])
    parser.add_argument("--far", type=int, default=96, help="halo of the canvas compared with")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("halo"))
    parser.add_argument("--plot", type=Path, metavar="PNG", help="default: halo.png in --out")
    parser.add_argument("--figures", type=Path, metavar="JSON", help="draw these, measure nothing")
    given = parser.parse_args()
    if max(given.halos) > given.far:
        parser.error(f"--far {given.far} must be at least the largest halo, {max(given.halos)}")
    return given


def plot(path: Path, facts: dict[str, Any]) -> None:
    """Draw the curve of the facts in halo.json."""
    rows, factor = facts["rows"], facts["factor"]
    names = {"max": "largest", "ring": f"rms, outer {RING} latents", "rms": "rms, whole core"}
    lines = {told: [row[name] for row in rows] for name, told in names.items()}
    title = f"latents' disagreement inside a chart, over their rms ({facts['mode']})"
    x_name = f"halo in latents of {factor} px; a window is {facts['window']}"
    path.parent.mkdir(parents=True, exist_ok=True)
    curves(path, [float(row["halo"]) for row in rows], lines, title, x_name)


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Print the curve, row by row, then write and print its table and facts."""
    model = Model.load(given.model, precision=given.precision)
    charts = Charts(model, parse(given.mode, model, given.batch), given)
    rows = measure(charts, sorted(given.halos), given.far)
    factor = model.codec.factor
    about = (
        f"Model {model.name} {model.hash}, mode {given.mode}, core {given.core} latents, compared "
        f"with a halo of {given.far}; windows of {model.window}; seed {given.seed}; "
        f"{'bf16' if model.denoiser.bf16 else 'fp32'}."
    )
    text = table([shown(row, factor) for row in rows]) + "\n\n" + about
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "halo.md").write_text(text + "\n", encoding="utf-8")
    facts = {
        "about": about,
        "mode": given.mode,
        "window": model.window,
        "factor": factor,
        "rows": rows,
    }
    (given.out / "halo.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    print(text)
    return facts


def main() -> None:
    """Measure the curve, or read a former one, and draw it."""
    given = arguments()
    if given.figures:
        facts = json.loads(given.figures.read_text(encoding="utf-8"))
    else:
        facts = measured(given)
    plot(given.plot or given.out / "halo.png", facts)


if __name__ == "__main__":
    main()
