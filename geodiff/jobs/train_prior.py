"""Patches and an encoder -> the prior: a diffusion model over cells, or an atlas of real blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from geodiff.diffusion import flow_matching_loss
from geodiff.errors import DataError
from geodiff.jobs.datasets.dataset import open_sets
from geodiff.jobs.training.ahead import Ahead
from geodiff.jobs.training.cells import encode_cells, open_cells
from geodiff.jobs.training.config import PriorConfig
from geodiff.jobs.training.latents import embed_cells
from geodiff.jobs.training.material import Material, gather
from geodiff.jobs.training.ranks import Ranks
from geodiff.jobs.training.ranks import start as start_ranks
from geodiff.jobs.training.run import After, Loss, Run
from geodiff.jobs.training.windows import CellBatch, draw_windows
from geodiff.models.bundle import choose_device
from geodiff.models.casting import cast
from geodiff.models.diffusion_prior import DiffusionPrior
from geodiff.models.encoder import Encoder
from geodiff.models.prior import AtlasPrior
from geodiff.models.prior_network import CellTransformer
from geodiff.models.text import TextEncoder
from geodiff.steps import Step


def train_prior(config: PriorConfig) -> Iterator[Step]:
    """Train a prior, yielding progress; the finished part lies in ``<run>/prior``."""
    yield from (build_atlas if config.kind == "atlas" else train_diffusion)(config)


def build_atlas(config: PriorConfig) -> Iterator[Step]:
    """Draw the blocks of an atlas from the training split."""
    encoder = Encoder.load(Path(config.encoder))
    cast(encoder.net, device=choose_device(config.device))
    sets = open_sets(config.datasets, encoder.cell)
    rng = np.random.default_rng(config.seed)
    pool = [(s, row) for s in sets for row in s.split("train")]
    chosen = rng.choice(len(pool), size=min(config.blocks, len(pool)), replace=False)
    blocks = []
    for done, number in enumerate(sorted(chosen), start=1):
        patches, row = pool[number]
        pixels = torch.from_numpy(np.array(patches.pixels[row])).permute(2, 0, 1)[None]
        blocks.append(embed_cells(pixels, encoder)[0])
        if done % 50 == 0 or done == len(chosen):
            yield Step("train prior", done, len(chosen))
    shapes = {block.shape for block in blocks}
    if len(shapes) > 1:
        raise DataError(
            f"the datasets' patches hold different numbers of cells ({sorted(shapes)}): build the "
            "prior from datasets of one patch size"
        )
    AtlasPrior.fit(np.stack(blocks)).save(Path(config.run) / "prior")


def train_diffusion(config: PriorConfig) -> Iterator[Step]:
    """Train a diffusion model over windows of cells."""
    sentences = TextEncoder.load(config.text) if config.text else None  # or say at once why not
    with start_ranks(config.device) as ranks:
        ranks.check(config.batch)
        torch.manual_seed(config.seed)
        encoder = Encoder.load(Path(config.encoder))
        cast(encoder.net, device=ranks.device)
        patch_sets = open_sets(config.datasets, encoder.cell)
        cache = Path(config.run) / "cache"
        turns = config.orientations * (len(patch_sets) if len(config.orientations) == 1 else 1)
        if ranks.lead:
            for patches, count in zip(patch_sets, turns, strict=True):
                yield from encode_cells(patches, encoder, count, cache)
        ranks.wait()
        cells = [
            open_cells(patches, count, cache, encoder.fingerprint, config.cells)
            for patches, count in zip(patch_sets, turns, strict=True)
        ]
        material = gather(config, patch_sets, cells, sentences)
        net = CellTransformer(
            encoder.dim, config.window, material.vectors.shape[1], len(material.labels),
            config.width, config.depth, config.heads, config.dropout,
        )  # fmt: skip
        run = Run(cast(net, device=ranks.device), config, ranks)
        after = watch(run, net, material, config)
        yield from run.steps(loss_of(net, config, material, ranks), "train prior", after)
        if ranks.lead:
            export(run, net, material, config)
        ranks.wait()


def loss_of(net: CellTransformer, config: PriorConfig, material: Material, ranks: Ranks) -> Loss:
    """Draws this rank's share of a batch and computes its loss."""

    def batch(step: int) -> CellBatch:
        return draw(config, material, step, "train", ranks)

    ahead = Ahead(batch, ranks.device.type != "cpu")

    def loss(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        return batch_loss(net.train(), ahead(step).to(ranks.device), config), {}

    return loss


def draw(config: PriorConfig, material: Material, step: int, split: str, ranks: Ranks) -> CellBatch:
    """The batch of a step."""
    return draw_windows(
        material.sets, material.vectors, material.whitening, config, (config.seed, step), split,
        ranks,
    )  # fmt: skip


def batch_loss(net: CellTransformer, batch: CellBatch, config: PriorConfig) -> torch.Tensor:
    """Flow matching loss of a batch."""

    def velocity(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=config.bf16):
            out: torch.Tensor = net(
                noisy,
                time,
                batch.gsd,
                batch.text,
                batch.told,
                batch.label,
                batch.group,
                batch.turn,
            )
        return out.float()

    return flow_matching_loss(velocity, batch.clean, batch.noise, batch.time)


def watch(run: Run, net: CellTransformer, material: Material, config: PriorConfig) -> After:
    """Validate and write the part at every checkpoint."""

    def after(step: int) -> Iterator[Step]:
        if run.ranks.lead and run.due(config.save_every):
            yield Step("validate", step, config.steps, validate(run, net, material, config))
            export(run, net, material, config)

    return after


@torch.no_grad()
def validate(
    run: Run, net: CellTransformer, material: Material, config: PriorConfig
) -> dict[str, float]:
    """Loss of the averaged weights on fixed windows of the val places."""
    if not any(len(s.val) for s in material.sets):
        return {}
    alone = Ranks(device=run.ranks.device)
    with run.averaged():
        losses = [
            batch_loss(
                net.eval(), draw(config, material, 2**40 + k, "val", alone).to(alone.device), config
            )
            for k in range(4)
        ]
    return {"val_loss": float(torch.stack(losses).mean())}


@torch.no_grad()
def export(run: Run, net: CellTransformer, material: Material, config: PriorConfig) -> None:
    """Write the averaged weights as a usable part, leaving the training weights as they are."""
    part = run.folder / "prior"
    with run.averaged(), run.writing(part):
        DiffusionPrior(
            net, material.whitening, material.labels, material.text,
            atlas=material.atlas, atlas_gsd=material.sets[0].gsd, text_mark=material.text_mark,
        ).save(part)  # fmt: skip
