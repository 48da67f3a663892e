"""Batches of encoded crops with their embedding fields, for training a denoiser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from geodiff.diffusion import sample_times
from geodiff.jobs.training.config import DenoiserConfig
from geodiff.jobs.training.fields import dense_fields
from geodiff.jobs.training.latents import LatentSet, crop_fields
from geodiff.jobs.training.ranks import Ranks

ALONE = Ranks()


@dataclass(frozen=True)
class Batch:
    """Tensors of one step: clean latents and noise (b, c, w, w), field (b, d, w, w), gsd (b,).

    Where ``taught`` (b,) a teacher is asked, with the scale ``guidance`` (b,); the latents
    themselves teach the others. ``weight`` is the factor on the mean loss of a rank's share of the
    batch. For a GPU the field is empty at first: ``cells`` holds what it is made of there, cells
    and positions of each dataset.
    """

    clean: torch.Tensor
    noise: torch.Tensor
    field: torch.Tensor
    gsd: torch.Tensor
    time: torch.Tensor
    known: torch.Tensor
    guidance: torch.Tensor
    taught: torch.Tensor
    weight: float = 1.0
    cells: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``, with its field."""
        field = self.field.to(device)
        if self.cells:
            moved = [(cells.to(device), where.to(device)) for cells, where in self.cells]
            field = torch.cat([dense_fields(*part) for part in moved])
        return Batch(
            clean=self.clean.to(device),
            noise=self.noise.to(device),
            field=field,
            gsd=self.gsd.to(device),
            time=self.time.to(device),
            known=self.known.to(device),
            guidance=self.guidance.to(device),
            taught=self.taught.to(device),
            weight=self.weight,
        )


def draw(
    sets: list[LatentSet],
    config: DenoiserConfig,
    seed: tuple[int, int],
    split: str,
    ranks: Ranks = ALONE,
) -> Batch:
    """Random crops at random offsets with their fields, of which a rank gets its share.

    A pure function of ``seed``.
    """
    rng = np.random.default_rng(seed)
    rows = [s.train if split == "train" else s.val for s in sets]
    w, size = crop_size(config, seed[1])
    fits = [len(r) > 0 and s.latents.shape[-1] >= w for s, r in zip(sets, rows, strict=True)]
    if not any(fits):  # no patch of this split is large enough for a large window
        w, size, fits = config.window, config.batch, [len(r) > 0 for r in rows]
    weight = np.array(config.weights or np.sqrt([len(r) for r in rows])) * np.array(fits)
    if not weight.any():  # what is left was given no weight
        weight = np.array(fits, float)
    chosen = np.sort(rng.choice(len(sets), size=size, p=weight / weight.sum()))
    clean, field, parts = [], [np.empty((0, w, w, sets[0].cells.shape[-1]), np.float32)], []
    gsd: list[float] = []
    for number in np.unique(chosen):
        source, count = sets[number], int((chosen == number).sum())
        patch = rng.choice(rows[number], size=count)
        turn = rng.integers(source.latents.shape[1], size=count)
        corner = rng.integers(np.array(source.latents.shape[-2:]) - w + 1, size=(count, 2))
        cells = source.cells[patch, turn].astype(np.float32)
        spread = config.embedding_noise / cells.shape[-1] ** 0.5
        cells += spread * rng.standard_normal(cells.shape, np.float32)
        cells /= np.linalg.norm(cells, axis=-1, keepdims=True)
        mine = np.arange(len(gsd), len(gsd) + count) % ranks.world == ranks.rank
        gsd += [source.gsd] * count
        if not mine.any():
            continue
        latents, cells, corner = source.latents[patch[mine], turn[mine]], cells[mine], corner[mine]
        clean += [z[:, r : r + w, c : c + w] for z, (r, c) in zip(latents, corner, strict=True)]
        where = (corner[:, :, None] + np.arange(w) + 0.5) / source.latents_per_cell
        if ranks.device.type == "cpu":
            field.append(crop_fields(cells, where[:, 0], where[:, 1]))
        else:
            parts.append((torch.from_numpy(cells), torch.from_numpy(where).float()))
    shape = (size, sets[0].latents.shape[2], w, w)
    random, share = torch.Generator().manual_seed(int(rng.integers(2**62))), ranks.share(size)
    noise, time = torch.randn(shape, generator=random), sample_times(random, size)
    known = torch.rand(size, generator=random) >= config.null
    taught, guidance = torch.zeros(size) > 0, torch.ones(size)
    if config.teacher is not None and split == "train":
        taught, guidance = asked(random, known, config)
    return Batch(
        clean=torch.from_numpy(np.stack(clean)).float(),
        noise=noise[share],
        field=torch.from_numpy(np.concatenate(field)).permute(0, 3, 1, 2),
        gsd=torch.tensor(gsd)[share],
        time=time[share],
        known=known[share],
        guidance=guidance[share],
        taught=taught[share],
        weight=ranks.weight(size),
        cells=tuple(parts),
    )


def asked(
    random: torch.Generator, known: torch.Tensor, config: DenoiserConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of the crops a teacher teaches, and with what scale, spread evenly over its logarithm.

    Without embeddings there is nothing to scale: 1.
    """
    share, place = torch.rand(2, len(known), generator=random)
    low, high = config.guidance
    taught = share < config.taught
    return taught, torch.where(taught & known, low * (high / low) ** place, torch.ones(len(known)))


def crop_size(config: DenoiserConfig, step: int) -> tuple[int, int]:
    """Latents a side and number of the crops of a step: now and then fewer and larger ones."""
    if config.large_every and step % config.large_every == config.large_every - 1:
        shrink = (config.window / config.large_window) ** 2
        return config.large_window, max(1, round(config.batch * shrink))
    return config.window, config.batch
