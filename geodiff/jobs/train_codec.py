"""Patches -> a codec: absolute, squared, gradient and feature error of the reconstruction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geodiff.jobs.datasets.dataset import CropSampler, PatchSet, open_sets
from geodiff.jobs.training.ahead import Ahead
from geodiff.jobs.training.config import CodecConfig
from geodiff.jobs.training.judges import Judges
from geodiff.jobs.training.ranks import Ranks
from geodiff.jobs.training.ranks import start as start_ranks
from geodiff.jobs.training.reconstruction import codec_loss, mesh_distance
from geodiff.jobs.training.run import After, Loss, Run
from geodiff.jobs.training.samples import examples, reconstructions
from geodiff.models.bundle import latent_statistics
from geodiff.models.casting import cast
from geodiff.models.codec import Codec, new_autoencoder
from geodiff.steps import Step

Statistics = tuple[Sequence[float], Sequence[float]]
"""Means and deviations of raw latents, one a channel."""


def train_codec(config: CodecConfig) -> Iterator[Step]:
    """Train a codec, yielding figures; the finished part lies in ``<run>/codec``."""
    with start_ranks(config.device) as ranks:
        ranks.check(config.batch)
        torch.manual_seed(config.seed)
        sets = open_sets(config.datasets, config.crop)
        net = cast(start(config), device=ranks.device, channels_last=True)
        judges = Judges.of(config, ranks.device)
        run = Run(judges.beside(net), config, ranks)
        loss = loss_of(net, judges, config, sets, ranks)
        yield from run.steps(loss, "train codec", watch(run, net, sets))
        run.use_average()
        if ranks.lead:
            with run.writing(run.folder / "codec"):
                save_codec(net, sets, run.folder / "codec", kept_statistics(config))
        ranks.wait()


def loss_of(
    net: Any, judges: Judges, config: CodecConfig, sets: tuple[PatchSet, ...], ranks: Ranks
) -> Loss:
    """Draws a batch, and compares it with what the network makes of it."""
    sampler = CropSampler(sets, config.crop, config.seed, config.weights)
    share = ranks.share(config.batch)
    # Half of the batch is enough for the networks that judge.
    judged = len(range(max(1, config.batch // 2))[share])
    weight = judged * ranks.world / max(1, config.batch // 2)
    factor = 2 ** (len(config.widths) - 1)

    def draw(step: int) -> torch.Tensor:
        return torch.from_numpy(sampler.batch(step, config.batch, share)[0]).permute(0, 3, 1, 2)

    ahead = Ahead(draw, ranks.device.type != "cpu")

    def loss(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        pixels = ahead(step).to(ranks.device)
        real = pixels.contiguous(memory_format=torch.channels_last).float() / 127.5 - 1
        with torch.autocast(ranks.device.type, torch.bfloat16, enabled=config.bf16):
            latents = net.encode(real, return_dict=False)[0]
            made = net.decode(latents, return_dict=False)[0]
            mesh = mesh_distance(made.float(), real, factor)
            made, real = shifted(made, real, factor, step)
            seen = judges(made[:judged], real[:judged]) if judged else (judges.idle(), {})
        total, figures = codec_loss(config, made.float(), real, latents.float())
        total = total + config.mesh * mesh + weight * seen[0]
        return total, {**figures, "mesh": float(mesh.detach()), **seen[1]}

    return loss


def shifted(
    made: torch.Tensor, real: torch.Tensor, factor: int, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both rolled by the same 0 to ``factor`` - 1 pixels, another way at every step.

    Judges look with strides. Without this a stride always meets the same places in a latent, and a
    pattern that repeats with it passes unseen: the decoder learns to paint one.
    """
    rows, cols = np.random.default_rng([step, factor]).integers(0, factor, 2).tolist()
    return made.roll((rows, cols), (-2, -1)), real.roll((rows, cols), (-2, -1))


def watch(run: Run, net: Any, sets: tuple[PatchSet, ...]) -> After:
    """Sheets of originals above reconstructions, by the averaged weights."""

    def after(step: int) -> Iterator[Step]:
        if run.ranks.lead and run.due(run.config.sample_every):
            factor = 2 ** (len(net.config["encoder_block_out_channels"]) - 1)
            pixels, _ = examples(sets, run.config.samples, factor)
            with run.averaged():
                run.picture("codec", reconstructions(net, pixels))
        yield from ()

    return after


def start(config: CodecConfig) -> Any:
    """The network to train: new, or read from ``start_from``; its encoder frozen if asked."""
    if config.start_from is None:
        net = new_autoencoder(
            config.channels, config.widths, config.encoder_layers, config.decoder_layers
        )
    else:
        net = load_codec(config.start_from).net
    net.requires_grad_(True)
    if config.freeze_encoder:
        net.encoder.requires_grad_(False)
    return net.train()


@torch.no_grad()
def save_codec(
    net: Any, sets: tuple[PatchSet, ...], folder: Path, kept: Statistics | None = None
) -> None:
    """Write the part: the network and the statistics of its latents over training patches.

    ``kept`` are those of a codec whose encoder is the same: then its latents stay the same as well.
    """
    if kept is not None:
        Codec(net.eval(), torch.zeros(1), torch.ones(1)).save(folder)
        write_statistics(folder, kept)
        return
    device = next(net.parameters()).device
    raw = Codec(net.eval(), torch.zeros(1, device=device), torch.ones(1, device=device))
    latents = []
    for patches in sets:
        rows = patches.split("train")
        for row in rows[:: max(1, len(rows) // 64)]:
            height, width = (side // raw.factor * raw.factor for side in patches.pixels.shape[1:3])
            image = np.array(patches.pixels[row, :height, :width])
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
            latents.append(raw.encode(pixels)[0].flatten(1).cpu())
    values = torch.cat(latents, dim=1)
    raw.save(folder)
    write_statistics(folder, (values.mean(1).tolist(), values.std(1).tolist()))


def write_statistics(folder: Path, statistics: Statistics) -> None:
    """Write means and deviations of the latents beside the network."""
    table = {"mean": list(statistics[0]), "std": list(statistics[1])}
    (folder / "latents.json").write_text(json.dumps(table, indent=1))


def kept_statistics(config: CodecConfig) -> Statistics | None:
    """Those of the codec that a run began with, where it left the encoder alone."""
    if config.freeze_encoder and config.start_from is not None:
        return latent_statistics(Path(config.start_from))
    return None


def load_codec(folder: str | Path) -> Codec:
    """Read a trained part ``<run>/codec``. Raises ModelError where it is not usable."""
    return Codec.load(Path(folder), *latent_statistics(Path(folder)))
