"""Encoded patches -> a probe: what embedding the pixels behind the latents of a cell have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

from geodiff.errors import DataError
from geodiff.jobs.datasets.dataset import open_sets
from geodiff.jobs.train_codec import load_codec
from geodiff.jobs.training.ahead import Ahead
from geodiff.jobs.training.config import ProbeConfig
from geodiff.jobs.training.latents import LatentSet, encode_sets
from geodiff.jobs.training.ranks import Ranks
from geodiff.jobs.training.ranks import start as start_ranks
from geodiff.jobs.training.run import After, Loss, Run
from geodiff.models.casting import cast
from geodiff.models.encoder import Encoder
from geodiff.models.probe import LatentNetwork, Probe
from geodiff.steps import Step

Pair = tuple[torch.Tensor, torch.Tensor]
"""Latents (n, channel, side, side) of cells and their embeddings (n, feature), float32."""


def train_probe(config: ProbeConfig) -> Iterator[Step]:
    """Train a probe, yielding figures; the finished part lies in ``<run>/probe``.

    The codec and encoder it belongs to are named in ``config``; patches are encoded once, or taken
    from the cache of a denoiser's run.
    """
    with start_ranks(config.device) as ranks:
        ranks.check(config.batch)
        torch.manual_seed(config.seed)
        codec = load_codec(config.codec).to(ranks.device)
        encoder = Encoder.load(Path(config.encoder))
        cast(encoder.net, device=ranks.device)
        side = encoder.cell // codec.factor
        patch_sets = open_sets(config.datasets, encoder.cell)
        cache = Path(config.cache or Path(config.run) / "cache")
        sets = yield from encode_sets(patch_sets, codec, encoder, config.orientations, cache, ranks)
        net = LatentNetwork(codec.channels, encoder.dim, side, config.widths, config.layers)
        net = cast(net, device=ranks.device, channels_last=True)
        run = Run(net, config, ranks)
        after = watch(run, net, sets, config)
        yield from run.steps(loss_of(net, config, sets, ranks), "train probe", after)
        if ranks.lead:
            export(run, net, run.folder / "probe")
        ranks.wait()


def draw(sets: list[LatentSet], config: ProbeConfig, seed: tuple[int, int], split: str) -> Pair:
    """Cells of random patches, a pure function of ``seed``."""
    rng = np.random.default_rng(seed)
    rows = [s.train if split == "train" else s.val for s in sets]
    weight = np.array(config.weights or np.sqrt([len(r) for r in rows]))
    weight = weight * np.array([len(r) > 0 for r in rows])
    if not weight.any():
        raise DataError(f"the datasets have no patches to {split} with: prepare larger ones")
    latents, vectors = [], []
    for source, held, count in zip(
        sets, rows, rng.multinomial(config.batch, weight / weight.sum()), strict=True
    ):
        if not count:
            continue
        side = source.latents_per_cell
        patch, turn = rng.choice(held, count), rng.integers(source.latents.shape[1], size=count)
        across = source.cells.shape[2]
        row, col = rng.integers(across, size=(2, count))
        vectors.append(source.cells[patch, turn, row, col])
        latents += [
            source.latents[p, t, :, r * side : (r + 1) * side, c * side : (c + 1) * side]
            for p, t, r, c in zip(patch, turn, row, col, strict=True)
        ]
    return (
        torch.from_numpy(np.stack(latents)).float(),
        torch.from_numpy(np.concatenate(vectors)).float(),
    )


def loss_of(net: LatentNetwork, config: ProbeConfig, sets: list[LatentSet], ranks: Ranks) -> Loss:
    """Draws this rank's share of a batch, adds noise, and takes one minus the cosine."""

    def batch(step: int) -> Pair:
        latents, vectors = draw(sets, config, (config.seed, step), "train")
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        scale = config.noise * torch.rand(len(latents), 1, 1, 1, generator=random)
        noisy = latents + scale * torch.randn(latents.shape, generator=random)
        share = ranks.share(config.batch)
        return noisy[share], vectors[share]

    ahead = Ahead(batch, ranks.device.type != "cpu")

    def loss(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        latents, vectors = (x.to(ranks.device) for x in ahead(step))
        return lack(net.train(), latents, vectors, config.bf16), {}

    return loss


def lack(
    net: LatentNetwork, latents: torch.Tensor, vectors: torch.Tensor, bf16: bool
) -> torch.Tensor:
    """One minus the cosine, a mean over the cells."""
    with torch.autocast(latents.device.type, torch.bfloat16, enabled=bf16):
        found = net(latents.contiguous(memory_format=torch.channels_last))
    return 1 - cosine_similarity(found.float(), vectors).mean()


def watch(run: Run, net: LatentNetwork, sets: list[LatentSet], config: ProbeConfig) -> After:
    """Validate the averaged weights and write the part at every checkpoint."""

    @torch.no_grad()
    def validate() -> dict[str, float]:
        if not any(len(s.val) for s in sets):
            return {}
        with run.averaged():
            net.eval()
            pairs = [draw(sets, config, (config.seed, 2**40 + k), "val") for k in range(4)]
            device, bf16 = run.ranks.device, config.bf16
            found = [lack(net, x.to(device), y.to(device), bf16) for x, y in pairs]
        return {"val_similarity": 1 - float(torch.stack(found).mean())}

    def after(step: int) -> Iterator[Step]:
        if run.ranks.lead and run.due(config.save_every):
            yield Step("validate", step, config.steps, validate())
            export(run, net, run.folder / "probe")

    return after


@torch.no_grad()
def export(run: Run, net: LatentNetwork, folder: Path) -> None:
    """Write the averaged weights as a usable part, leaving the training weights as they are."""
    with run.averaged(), run.writing(folder):
        Probe(net).save(folder)
