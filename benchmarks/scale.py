"""Does memory stay and time grow in step with the area? Whole jobs in world layout.

Run: python benchmarks/scale.py [--sides 2048 4096 6144 8192] [--layout world] [--model DIR]

Each side is one `geodiff.synthesize` in a process of its own, whose peak resident memory the system
reports. The question is what the engine costs, not the network, so by default the model is tiny and
random (:func:`tiny_model`), and the mosaic shows nothing: --model DIR takes a real one, and
`--model shipped` the one of the package. Memory: `--sides 4096 8192 16384`, promise 2 says that the
peaks are equal. Time: the seconds that each further megapixel takes, start-up left out by taking
differences, are equal where time grows with the area. A chart that a box does not fill costs as
much as a full one, so sides should be multiples of its 2,048 px. Writes scale.md and scale.json
into --out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sheet import table

FACTS = """
name = "tiny-random"
gsd = 0.6
gsd_range = [0.3, 1.0]
window = 32
guidance = 1.0
credit = "random numbers"
licence = "none"
"""

CORNER = (430_080.0, 3_776_512.0)
"""Left and top of all mosaics in EPSG:32611, on a border of charts at 0.5 m."""


def tiny_model(folder: Path) -> Path:
    """Write a model directory of the real layout, with cells of 64 px and windows of 256 px."""
    import torch

    from geodiff.models.codec import Codec, new_autoencoder
    from geodiff.models.denoiser import Denoiser, FieldUNet
    from geodiff.models.encoder import CellNetwork, Encoder
    from geodiff.models.prior import AtlasPrior

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    codec = new_autoencoder(4, (8, 8, 16, 16), (0, 1, 1, 1), (0, 1, 1, 1)).eval()
    Codec(codec, torch.zeros(4), torch.ones(4)).save(folder / "codec")
    statistics = json.dumps({"mean": [0] * 4, "std": [1] * 4})
    (folder / "codec" / "latents.json").write_text(statistics)
    encoder = CellNetwork("test_resnet", 8, 64).eval()
    Encoder(encoder, "test_resnet", 8, 64).save(folder / "encoder")
    Denoiser(FieldUNet(4, 8, (16, 32), 1, 4).eval()).save(folder / "denoiser")
    blocks = np.random.default_rng(0).standard_normal((16, 4, 4, 8)).astype(np.float32)
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    AtlasPrior.fit(blocks).save(folder / "prior")
    (folder / "model.toml").write_text(FACTS)
    return folder


def child(options: dict[str, Any]) -> None:
    """One job; prints its seconds, its peak resident megabytes and its counts as JSON."""
    import geodiff

    began = time.perf_counter()
    result = geodiff.synthesize(**options)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {
        "seconds": seconds,
        "peak_mb": peak,
        "planned_mb": result.plan.memory_mb,
        "evaluations": result.plan.evaluations,
        "file_mb": Path(result.path).stat().st_size / 1e6,
    }
    print(json.dumps(facts))


def measure(side: int, given: argparse.Namespace, model: str | None) -> dict[str, Any]:
    """Figures of a mosaic of ``side`` pixels, in a process of its own."""
    left, top = CORNER
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        options = {
            "out": str(Path(folder) / "mosaic.tif"),
            "model": model,
            "bbox": [left, top - side / 2, left + side / 2, top],
            "bbox_crs": "EPSG:32611",
            "crs": "EPSG:32611",
            "res": 0.5,
            "mode": given.mode,
            "steps": given.steps,
            "layout": given.layout,
            "batch": given.batch,
        }
        command = [sys.executable, __file__, "--child", json.dumps(options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"side": side, "megapixels": side**2 / 1e6, **facts}


def shown(row: dict[str, Any], before: dict[str, Any] | None) -> dict[str, str]:
    """The cells of a row of the table; ``before`` is the row of the next smaller side."""
    more = ""
    if before is not None:
        area = row["megapixels"] - before["megapixels"]
        more = f"{(row['seconds'] - before['seconds']) / area:.3f}"
    return {
        "side": f"{row['side']:,}",
        "megapixels": f"{row['megapixels']:.1f}",
        "peak memory, MB": f"{row['peak_mb']:.0f}",
        "planned, MB": f"{row['planned_mb']:.0f}",
        "seconds": f"{row['seconds']:.1f}",
        "seconds per megapixel": f"{row['seconds'] / row['megapixels']:.3f}",
        "per further megapixel": more,
        "evaluations per megapixel": f"{row['evaluations'] / row['megapixels']:,.0f}",
        "file, MB": f"{row['file_mb']:.0f}",
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 4096, 6144, 8192])
    parser.add_argument("--layout", default="world")
    parser.add_argument("--mode", default="balanced")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--model", help="a model directory, or `shipped`")
    parser.add_argument("--scratch", help="folder for the mosaics, which are removed")
    parser.add_argument("--out", type=Path, default=Path("scale"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def run(given: argparse.Namespace, model: str | None) -> Sequence[dict[str, Any]]:
    """Figures of all sides, printed as they come."""
    rows = []
    for side in sorted(given.sides):
        rows.append(measure(side, given, model))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Measure every side, then print and write the table."""
    given = arguments()
    if given.child:
        child(json.loads(given.child))
        return
    with tempfile.TemporaryDirectory() as folder:
        tiny = str(tiny_model(Path(folder) / "tiny")) if given.model is None else given.model
        rows = run(given, None if given.model == "shipped" else tiny)
    about = (
        f"Layout {given.layout}, mode {given.mode}, {given.steps} steps, batches of {given.batch}, "
        f"model {given.model or 'tiny-random'}."
    )
    text = table([shown(*pair) for pair in zip(rows, [None, *rows], strict=False)]) + "\n\n" + about
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "scale.md").write_text(text + "\n", encoding="utf-8")
    facts = {"about": about, "rows": rows}
    (given.out / "scale.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
