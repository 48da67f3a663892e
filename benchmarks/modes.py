"""Compares the sampling modes on one model under the same held-out embeddings.

Run: python benchmarks/modes.py DATASET [--modes paper paper-field quality balanced fast]
     python benchmarks/modes.py --reference SCENE.tif --megapixels 4 --out results

A mode is MODE[:field=value]..., fields those of geodiff.jobs.mosaic.modes.Sampling in JSON:
`balanced:steps=10:guided=[0.1,3]:stride=20`. `paper-field` is the paper's sampler under our dense
field (`paper:per_window=false`), which tells the sampler from the conditions: the fair comparison,
as a model whose cells are smaller than its windows was never trained on one vector a window.

DATASET is what `geodiff prepare` wrote; its val chips are laid out as quilts (see
geodiff/jobs/measures/quilts.py).
The figures are explained in figures.py. Beside the modes stand the floors: real training chips, as
many, and the real pixels through the codec alone. Painted pixels are kept in --out, scene by scene,
so that a stopped run goes on and a mode can be added later; figures are worked out anew. Times are
of this machine and of the moment a mode was painted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from figures import LARGE, Row, Truth, about, shown
from odc.geo.geobox import GeoBox
from scenes import Image, Scene, alone, by_place, mosaic, quilts, true_scene
from sheet import side_by_side, table

from geodiff.geo.grid import PixelGrid
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.models.bundle import Model
from geodiff.steps import drain

DEFAULT = ("paper", "paper-field", "quality", "balanced", "fast")
ALIASES = {"paper-field": "paper:per_window=false"}


@dataclass(frozen=True, eq=False)
class Painted:
    """One scene painted by one mode."""

    mosaic: Image  # (3, side, side)
    patches: Image  # (n, 3, window, window), each denoised and decoded alone
    seconds: float  # of denoising and decoding the mosaic


def parse(spec: str, model: Model, batch: int) -> Sampling:
    """The settings that a mode's name on the command line stands for."""
    name, *rest = spec.split(":")
    mode, *changes = [*ALIASES.get(name, name).split(":"), *rest]
    sampling = Sampling.of(mode, model, None, None, batch)
    known = {field.name for field in fields(Sampling)}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in known:
            raise SystemExit(f"{name} is no field of Sampling; choose {', '.join(sorted(known))}")
        sampling = replace(sampling, **{name: value_of(text)})
    return sampling


def value_of(text: str) -> Any:
    """JSON, lists as tuples; what is no JSON is a string."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value


def paint(model: Model, sampling: Sampling, scene: Scene, seed: int) -> Painted:
    """The scene's mosaic, timed, and its untiled patches."""
    began = time.perf_counter()
    whole = drain(mosaic(model, sampling, scene, seed))
    seconds = time.perf_counter() - began
    return Painted(whole, drain(alone(model, sampling, scene, seed)), seconds)


def kept(
    out: Path, spec: str, model: Model, sampling: Sampling, scene: Scene, seed: int
) -> Painted:
    """``paint``, or what an earlier run of the same settings left in ``out``."""
    asked = hashlib.sha256(scene.real.tobytes()).hexdigest()
    key = f"{model.hash} {asked} {seed} {replace(sampling, batch=1)}"
    name = "".join(c if c.isalnum() or c in "-=.," else "_" for c in spec)
    path = out / "painted" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
    if not path.exists():
        made = paint(model, sampling, scene, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, mosaic=made.mosaic, patches=made.patches, seconds=made.seconds)
        temporary.replace(path)
    stored = np.load(path)
    return Painted(stored["mosaic"], stored["patches"], float(stored["seconds"]))


def measured(truth: Truth, spec: str, sampling: Sampling, made: Sequence[Painted]) -> Row:
    """All figures of one mode."""
    megapixels = sum(scene.grid.window.height * scene.grid.window.width for scene in truth.scenes)
    factor = truth.model.codec.factor
    canvases = [sampling.canvas(scene.grid, factor) for scene in truth.scenes]
    mosaics = [one.mosaic for one in made]
    large = PixelGrid(GeoBox((LARGE, LARGE), Affine.identity(), None), 0, 0)
    return Row(
        name=spec,
        evaluations=sum(sampling.evaluations(canvas) for canvas in canvases) / megapixels * 1e6,
        large=sampling.evaluations(sampling.canvas(large, factor)) / LARGE**2 * 1e6,
        seconds=sum(one.seconds for one in made) / megapixels * 1e6,
        patch=truth.patch([one.patches for one in made]),
        **truth.resemblance(truth.tiles(mosaics)),
        **truth.fidelity(mosaics),
        **truth.seams(mosaics, sampling),
    )


def floors(truth: Truth, patches: PatchSet | None, seed: int) -> list[Row]:
    """Real training chips against the real val ones, as many; and real pixels through the codec."""
    rows, codec = [], truth.model.codec
    if patches is not None:
        chosen = by_place(patches, "train", len(truth.real), seed)
        train = np.stack([patches.pixels[row] for row in chosen]).transpose(0, 3, 1, 2)
        rows.append(Row("real, other places", **truth.resemblance(train)))
    through = [
        codec.decode(codec.encode(torch.from_numpy(scene.real)[None]))[0].cpu().numpy()
        for scene in truth.scenes
    ]
    seen = truth.resemblance(truth.tiles(through)) | truth.fidelity(through)
    return [*rows, Row("real, through the codec", **seen)]


def arguments(about: str, modes: Sequence[str], out: str) -> argparse.Namespace:
    """The command line, of ablations.py as well."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("dataset", nargs="?", help="a prepared dataset")
    parser.add_argument("--reference", help="a raster to take a true scene from, not a dataset")
    parser.add_argument("--model")
    parser.add_argument("--modes", nargs="+", default=modes, metavar="MODE[:field=value]...")
    parser.add_argument("--megapixels", type=float, default=1.05)
    parser.add_argument("--side", type=int, default=1024, help="pixels a side of a quilt")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--json", action="store_true", help="print JSON, not the table")
    given = parser.parse_args()
    if (given.dataset is None) == (given.reference is None):
        parser.error("give a prepared dataset or --reference FILE")
    return given


def opened(given: argparse.Namespace, model: Model) -> tuple[PatchSet | None, list[Scene]]:
    """The dataset, if it is one, and the scenes to paint."""
    if given.dataset is None:
        return None, [true_scene(model, given.reference, given.megapixels)]
    patches = PatchSet.open(given.dataset)
    return patches, quilts(model, patches, given.megapixels, given.side, given.seed)


def main() -> None:
    """Paint what is missing, then print and write the table and the picture."""
    given = arguments(__doc__ or "", DEFAULT, "modes")
    model = Model.load(given.model)
    chosen = {spec: parse(spec, model, given.batch) for spec in given.modes}
    patches, scenes = opened(given, model)
    truth = Truth.of(model, scenes)
    rows, pictures = floors(truth, patches, given.seed), {"real": scenes[0].real}
    for spec, sampling in chosen.items():
        made = [
            kept(given.out, spec, model, sampling, scene, given.seed + k)
            for k, scene in enumerate(scenes)
        ]
        rows.append(measured(truth, spec, sampling, made))
        pictures[spec] = made[0].mosaic
    paper = next((row for row in rows if row.name == "paper"), None)
    text = table([shown(row, paper) for row in rows]) + "\n\n" + about(truth, given.seed)
    facts = {"about": about(truth, given.seed), "rows": [row.as_dict() for row in rows]}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "modes.md").write_text(text + "\n", encoding="utf-8")
    (given.out / "modes.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    side_by_side(given.out / "modes.png", pictures)
    print(json.dumps(facts, indent=1) if given.json else text)


if __name__ == "__main__":
    main()
