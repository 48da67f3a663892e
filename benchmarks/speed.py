"""Time, peak memory and the networks' share of whole mosaics, and what the machine could give.

Run: python benchmarks/speed.py [--sides 1024 2048] [--mode balanced] [--layout auto] [--runs 1]

Each side is one `geodiff.synthesize` in a process of its own, timed from the start of the
interpreter. The seconds inside the denoiser, the codec's decoder and the probe that steers are
added up, and those that loading the model takes; what is in none of them is the engine's own:
noise, field, blending, solver, reading and writing. With several runs the fastest counts. Prints
Markdown tables for docs/performance.md: figures are of this machine and this moment, so read shares
and ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from sheet import table
from torch.utils.flop_counter import FlopCounterMode

from geodiff.jobs.mosaic.modes import Sampling
from geodiff.jobs.mosaic.timing import seconds_per_window
from geodiff.models.bundle import Model
from geodiff.models.codec import Codec
from geodiff.models.denoiser import FieldUNet
from geodiff.models.probe import Probe

CORNER = (430_080.0, 3_772_416.0)
"""Left and bottom of all mosaics in EPSG:32611: a corner of charts of 2048 px of 0.6 m."""


@dataclass(frozen=True)
class Timed:
    """One mosaic; seconds."""

    side: int
    evaluations: int
    job: float  # the call: model loaded, mosaic finished
    denoiser: float
    decoder: float
    probe: float
    loading: float
    peak_mb: float
    wall: float = 0.0  # of the process

    @property
    def engine(self) -> float:
        """Seconds that are no network's, once they are loaded."""
        return self.job - self.denoiser - self.decoder - self.probe - self.loading

    def row(self) -> dict[str, str]:
        """A line of the table."""
        shares = {
            "denoiser": self.denoiser, "decoder": self.decoder, "probe": self.probe,
            "loading": self.loading, "everything else": self.engine,
        }  # fmt: skip
        return {
            "side": f"{self.side} px",
            "wall time with start-up": f"{self.wall:.1f} s",
            "peak memory": f"{self.peak_mb:.0f} MB",
            "evaluations": f"{self.evaluations:,}",
            "seconds a megapixel": f"{self.job / self.side**2 * 1e6:.1f}",
            "ms an evaluation": f"{self.job / self.evaluations * 1e3:.2f}",
            **{name: f"{seconds / self.job:.1%}" for name, seconds in shares.items()},
        }


class Stopwatch:
    """The seconds in which a method of a class is under way, whichever object it is called on.

    Calls beside each other count once.
    """

    def __init__(self, kind: type, name: str) -> None:
        self.seconds, self.began, self.running = 0.0, 0.0, 0
        inner, lock = getattr(kind, name), threading.Lock()

        def watched(*args: Any, **options: Any) -> Any:
            with lock:
                if not self.running:
                    self.began = time.perf_counter()
                self.running += 1
            try:
                return inner(*args, **options)
            finally:
                with lock:
                    self.running -= 1
                    if not self.running:
                        self.seconds += time.perf_counter() - self.began

        setattr(kind, name, watched)


def child(side: int, mode: str, layout: str, folder: str) -> None:
    """Paint one mosaic and print what it took as JSON."""
    import geodiff

    denoiser, decoder = Stopwatch(FieldUNet, "forward"), Stopwatch(Codec, "decode_tile")
    probe, loading = Stopwatch(Probe, "nudge"), Stopwatch(Model, "load")
    left, bottom = CORNER
    box = (left, bottom, left + 0.6 * side, bottom + 0.6 * side)
    began = time.perf_counter()
    result = geodiff.synthesize(
        str(Path(folder) / "mosaic.tif"), mode=mode, layout=layout, bbox=box,
        bbox_crs="EPSG:32611", crs="EPSG:32611", res=0.6,
    )  # fmt: skip
    job = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count = result.plan.evaluations
    shares = [watch.seconds for watch in (denoiser, decoder, probe, loading)]
    print(json.dumps(asdict(Timed(side, count, job, *shares, peak))))


def timed(side: int, mode: str, layout: str, runs: int) -> Timed:
    """The fastest of several processes."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--child", folder]
            began = time.perf_counter()
            done = subprocess.run(
                [*command, "--sides", str(side), "--mode", mode, "--layout", layout],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            wall = time.perf_counter() - began
        found.append(Timed(**{**json.loads(done.stdout), "wall": wall}))
    return min(found, key=lambda one: one.wall)


def gemm_peak(dtype: torch.dtype) -> float:
    """Best GFLOP/s of a 2048 x 2048 matrix product."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e9


@torch.no_grad()
def network_rate(model: Model, mode: str) -> tuple[float, float]:
    """GFLOP of one window and GFLOP/s that the denoiser reaches in the job's batches."""
    sampling = Sampling.of(mode, model, None, None, 8)
    shape = (1, model.codec.channels, sampling.size, sampling.size)
    field = torch.zeros(1, model.encoder.dim, sampling.size, sampling.size)
    with FlopCounterMode(display=False) as counter:
        model.denoiser.velocity(torch.zeros(shape), torch.full((1,), 0.5), field, model.gsd)
    flop = counter.get_total_flops() / 1e9
    best = min(seconds_per_window(model, sampling) for _ in range(4))
    return flop, flop / best


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=(1024, 2048))
    parser.add_argument("--mode", default="balanced")
    parser.add_argument("--layout", default="auto")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--child", metavar="DIR", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.sides[0], given.mode, given.layout, given.child)
        return
    print(f"Mode {given.mode}, layout {given.layout}, {torch.get_num_threads()} threads.\n")
    rows = [timed(side, given.mode, given.layout, given.runs) for side in given.sides]
    print(table([one.row() for one in rows]))
    model = Model.load()
    flop, rate = network_rate(model, given.mode)
    gemm = gemm_peak(torch.bfloat16 if model.denoiser.bf16 else torch.float32)
    share = f"{rate / gemm:.2f} of the {gemm:.0f} of a matrix product"
    print(f"\nOne evaluation is {flop:.2f} GFLOP; the denoiser does {rate:.0f} GFLOP/s, {share}.")


if __name__ == "__main__":
    main()
