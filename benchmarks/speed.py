"""Time and peak memory of one mosaic from the command line, and the network's share of the machine.

Run: python benchmarks/speed.py [--side 1024] [--mode balanced]
Prints a Markdown table for docs/performance.md. Every figure is of this machine and this moment.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.plan import seconds_per_window
from geodiff.models.bundle import Model


def run_once(side: int, mode: str) -> tuple[float, float, dict[str, object]]:
    """Wall seconds with start-up, peak resident MB, and the result of `geodiff synthesize`."""
    left, bottom = 429_888.0, 3_772_395.0
    right, top = left + 0.6 * side, bottom + 0.6 * side
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "geodiff_cli", "synthesize", "--json", "-q"),
            *("--bbox", f"{left},{bottom},{right},{top}"),
            *("--bbox-crs", "EPSG:32611", "--crs", "EPSG:32611", "--res", "0.6"),
            *("--mode", mode, "--out", str(Path(folder) / "mosaic.tif")),
        ]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return seconds, peak, json.loads(done.stdout)


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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--mode", default="balanced")
    given = parser.parse_args()
    seconds, peak, result = run_once(given.side, given.mode)
    model = Model.load()
    flop, rate = network_rate(model, given.mode)
    gemm = gemm_peak(torch.bfloat16 if model.denoiser.bf16 else torch.float32)
    print("| what | figure |")
    print("|---|---|")
    print(f"| mosaic | {given.side} x {given.side} px, mode {given.mode} |")
    print(f"| wall time with start-up | {seconds:.1f} s |")
    print(f"| peak resident memory | {peak:.0f} MB |")
    print(f"| network evaluations | {result['evaluations']} of {flop:.2f} GFLOP |")
    share = f"{rate / gemm:.2f} of the {gemm:.0f} of a matrix product"
    print(f"| denoiser | {rate:.0f} GFLOP/s, {share} |")
    print(f"| threads | {torch.get_num_threads()} |")


if __name__ == "__main__":
    main()
