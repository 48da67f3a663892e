"""What each choice of the sampler is worth: field, guidance, interval, steps; on held-out places.

Run: python benchmarks/ablations.py datasets/naip_ca --side 512 --megapixels 0.78 --out ablations
     python benchmarks/ablations.py datasets/naip_ca --modes balanced balanced:steps=40 ...

The first mode is the default of `geodiff synthesize`; each further one changes one setting of it,
in the notation of modes.py. Figures are those of `geodiff evaluate` for large images: mosaics under
held-out embeddings (quilts of val patches of DATASET, or a scene), beside the same windows painted
alone, with two feature spaces. "clearly other" names the figures that differ from the first mode's
by more than twice the spread of their difference over the same images, or halves of them.

`per_window=true` gives every window one vector, as published, in place of the dense field, with the
windows, the solver and the guidance of the first mode. The shipped model was trained on fields: its
row says what the field is worth to this model, not what a model trained on single vectors can do.

What is painted is kept in --out, as modes.py does, so that a stopped run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from modes import Painted, arguments, kept, opened, parse
from scenes import Scene, by_place, tiles
from sheet import table

from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.evaluate import has_lite0
from geodiff.jobs.measures.comparison import CLEAR, by_halves, paired
from geodiff.jobs.measures.distances import Space, open_space
from geodiff.jobs.measures.large import Large, measure_large
from geodiff.jobs.measures.tabulate import number, spread
from geodiff.jobs.measures.trials import Trial
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.models.bundle import Model

ABLATIONS = (
    "balanced",
    "balanced:per_window=true",
    "balanced:guidance=1",
    "balanced:guidance=2",
    "balanced:guidance=3",
    "balanced:guidance=4",
    "balanced:guided=[0,1000]",
    "balanced:guided=[0.3,3]",
    "balanced:steps=8",
    "balanced:steps=12",
    "balanced:steps=24",
)


def measured(
    scenes: Sequence[Scene],
    made: Sequence[Painted],
    other: PatchSet | None,
    spaces: Sequence[Space],
    sampling: Sampling,
    factor: int,
) -> Large:
    """Figures of one mode; ``other`` gives as many real patches of other places, for the floor."""
    real = np.concatenate([tiles(scene.real, scene.block) for scene in scenes])
    floor = None
    if other is not None:
        rows = by_place(other, "train", len(real), 0)
        floor = np.stack([other.pixels[row] for row in rows]).transpose(0, 3, 1, 2)
    trial = Trial(
        name="ablation", kind="val", gsd=scenes[0].gsd, real=real, made=real, decoded=real,
        other=floor, scenes=tuple(scenes), mosaics=tuple(one.mosaic for one in made),
        windows=tuple(one.patches for one in made),
    )  # fmt: skip
    return measure_large(trial, spaces, sampling, factor)


def coded(model: Model, scenes: Sequence[Scene]) -> list[Painted]:
    """The real pixels of scenes through the codec alone, as if they were painted."""
    found, size = [], model.window * model.codec.factor
    for scene in scenes:
        pixels = torch.from_numpy(scene.real)[None]
        through = model.codec.decode(model.codec.encode(pixels))[0].cpu().numpy()
        found.append(Painted(through, tiles(through, size), 0.0))
    return found


def shown(
    name: str, large: Large, first: Large | None, evaluations: float | None
) -> dict[str, str]:
    """A row of the table; ``first`` is that of the first mode, None for itself and the codec."""
    crop, window = large.crops[0], large.windows[0]
    row = {
        "setting": name,
        "evaluations per MP": "" if evaluations is None else f"{evaluations:,.0f}",
        "similarity": spread(crop.similarity, crop.similarity_error),
        "shuffled": number(crop.shuffled),
        "patch distance": number(window.frechet),
        "crop distance": number(crop.frechet),
        "crop / patch": number(large.ratios[0]),
        "crops by halves": spread(crop.frechet_halves, crop.frechet_spread),
    }
    for figures in large.crops[1:]:
        row[f"crops, {figures.space}"] = number(figures.frechet)
    row |= {"detail": f"{large.detail:.2f}", "detail alone": f"{large.detail_windows:.2f}"}
    row["clearly other"] = "" if first is None else ", ".join(clear(large, first)) or "none"
    return row


def clear(large: Large, first: Large) -> list[str]:
    """Names of the figures of crops that differ clearly, with the sign of the difference."""
    found = []
    for one, two in zip(large.crops, first.crops, strict=True):
        gaps = [("distance", one.frechet - two.frechet, by_halves(one, two))]
        if one.space == "encoder":
            gaps.insert(0, ("similarity", one.similarity - two.similarity, paired(one, two)))
        for figure, gap, about in gaps:
            if about is not None and abs(gap) > CLEAR * about:
                found.append(f"{'+' if gap > 0 else '-'} {figure} ({one.space})")
    return found


def main() -> None:
    """Paint what is missing, then print and write the table."""
    given = arguments(__doc__ or "", ABLATIONS, "ablations")
    model = Model.load(given.model)
    chosen = {spec: parse(spec, model, given.batch) for spec in given.modes}
    patches, scenes = opened(given, model)
    names = ("encoder", *(("efficientnet-lite0",) if has_lite0() else ()))
    spaces, factor = [open_space(name, model, None) for name in names], model.codec.factor
    megapixels = sum(scene.real[0].size for scene in scenes) / 1e6
    basis = measured(
        scenes, coded(model, scenes), patches, spaces, next(iter(chosen.values())), factor
    )
    rows, facts = [shown("real, through the codec", basis, None, None)], {}
    first: Large | None = None
    for spec, sampling in chosen.items():
        made = [
            kept(given.out, spec, model, sampling, scene, given.seed + k)
            for k, scene in enumerate(scenes)
        ]
        large = measured(scenes, made, patches, spaces, sampling, factor)
        canvases = [sampling.canvas(scene.grid, factor) for scene in scenes]
        count = sum(sampling.evaluations(canvas) for canvas in canvases) / megapixels
        rows.append(shown(spec, large, first, count))
        facts[spec] = large.as_dict() | {"evaluations": count}
        first = large if first is None else first
    floors = ", ".join(f"{d.space} {number(d.frechet_floor) or 'none'}" for d in basis.crops)
    about = (
        f"Model {model.name} {model.hash}, guidance {model.guidance:g} unless the setting says "
        f"otherwise; scenes: {len(scenes)}, {megapixels:.2f} megapixels, {basis.crops[0].samples} "
        f"cells, seed {given.seed}. Distances of as many real patches of other places: {floors}."
    )
    text = f"{table(rows)}\n\n{about}"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "ablations.md").write_text(text + "\n", encoding="utf-8")
    stored = json.dumps({"about": about, "rows": facts}, indent=1)
    (given.out / "ablations.json").write_text(stored, encoding="utf-8")
    print(stored if given.json else text)


if __name__ == "__main__":
    main()
