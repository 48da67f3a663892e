"""Time, peak memory and size of an import at the published size, with random numbers.

Run: python benchmarks/importing.py [--folder importing] [--half]

Writes a checkpoint in the layout of the NAIP model of Graikos et al. 2024 (400.9 million weights of
the UNet, 55.3 of the codec), imports it by the command line in a process of its own, and loads what
came out in another one. Peak memory is that of the process, interpreter and libraries included;
"libraries alone" imports the same modules and does nothing. Needs 4 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from sheet import table

from geodiff.models.conditioner import ConditionerSizes, new_conditioner
from geodiff.models.foreign.names import codec_name, unet_name
from geodiff.models.foreign.sizes import CODEC, CONDITIONER, UNET
from geodiff.models.token_denoiser import UNetSizes, new_unet
from geodiff.models.vq_codec import CodecSizes, new_vq

PAPER_UNET = UNetSizes(3, 3, (192, 384, 576, 960), 2, (False, True, True, True), 1, 512)
PAPER_CODEC = CodecSizes((128, 256, 512), 2, (False, False, False), 3, 8192, 3)
PAPER_TOKENS = ConditionerSizes("patch", 768, 512)

ALONE = "import geodiff.jobs.import_checkpoint"
LOAD = "import sys, geodiff; geodiff.load(sys.argv[1], 'cpu')"


def write(
    path: Path,
    unet: UNetSizes = PAPER_UNET,
    codec: CodecSizes = PAPER_CODEC,
    tokens: ConditionerSizes = PAPER_TOKENS,
) -> None:
    """Write a checkpoint of these sizes."""
    with torch.device("meta"):
        parts = (
            (UNET, new_unet(unet), lambda name: unet_name(name, unet)),
            (CODEC, new_vq(codec), lambda name: codec_name(name, codec)),
            (CONDITIONER, new_conditioner(tokens), str),
        )
    generator = torch.Generator().manual_seed(0)
    state = {
        prefix + name_of(name): 0.02 * torch.randn(value.shape, generator=generator)
        for prefix, net, name_of in parts
        for name, value in net.state_dict().items()
    }
    torch.save({"state_dict": state}, path)


def measured(*command: str) -> tuple[float, float]:
    """Seconds and peak MB of a process. Ends with its exit status where it fails."""
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[:3]} ended with status {child.returncode}")
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def size(path: Path) -> str:
    """GB of a file or a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e9:.2f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("importing"))
    parser.add_argument("--half", action="store_true", help="write weights in half precision")
    parser.add_argument("--write", action="store_true", help="write the checkpoint and end")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    checkpoint, model = given.folder / "last.ckpt", given.folder / "model"
    if given.write:
        return write(checkpoint)
    if not checkpoint.exists():  # elsewhere: a process is born with the peak of its parent
        subprocess.run([sys.executable, *sys.argv, "--write"], check=True)
    command = ["-m", "geodiff_cli", "import", str(checkpoint), "--kind", "naip", "--quiet"]
    options = ["--out", str(model), "--overwrite", *["--half"] * given.half]
    rows = []
    for name, run, path in (
        ("libraries alone", ["-c", ALONE], None),
        ("geodiff import", [*command, *options], checkpoint),
        ("geodiff.load", ["-c", LOAD, str(model)], model),
    ):
        seconds, peak = measured(*run)
        rows.append({
            "": name, "reads": size(path) if path else "", "seconds": f"{seconds:.0f}",
            "peak memory": f"{peak:.0f} MB",
        })  # fmt: skip
    print(table(rows))
    print(f"{model}: {size(model)}")


if __name__ == "__main__":
    main()
