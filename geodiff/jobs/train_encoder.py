"""Patches -> an encoder: two views of one cell agree, features stay apart (VICReg)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from geodiff.errors import UsageError
from geodiff.jobs.datasets.dataset import CropSampler, PatchSet, open_sets
from geodiff.jobs.training.ahead import Ahead
from geodiff.jobs.training.config import EncoderConfig
from geodiff.jobs.training.ranks import Ranks, share_norms
from geodiff.jobs.training.ranks import start as start_ranks
from geodiff.jobs.training.run import Loss, Run
from geodiff.models.casting import cast
from geodiff.models.encoder import CellNetwork, Encoder
from geodiff.steps import Step


def train_encoder(config: EncoderConfig) -> Iterator[Step]:
    """Train an encoder, yielding figures; the finished part lies in ``<run>/encoder``."""
    with start_ranks(config.device) as ranks:
        ranks.check(config.batch)
        torch.manual_seed(config.seed)
        sets = open_sets(config.datasets, config.cell + config.shift)
        net = network_of(config)
        share_norms(net, ranks)
        run = Run(cast(net, device=ranks.device, channels_last=True), config, ranks)
        yield from run.steps(loss_of(net, config, sets, ranks), "train encoder")
        run.use_average()
        if ranks.lead:
            part = run.folder / "encoder"
            with run.writing(part):
                Encoder(net.eval(), config.network, config.dim, config.cell).save(part)
        ranks.wait()


def network_of(config: EncoderConfig) -> CellNetwork:
    """An untrained network. Raises UsageError where timm cannot make it for cells of this size."""
    try:
        return CellNetwork(config.network, config.dim, config.cell)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"network {config.network!r} cannot be made for cells of {config.cell} px ({reason}): "
            "name a network of timm that takes any size, such as resnet10t"
        ) from error


def loss_of(
    net: CellNetwork, config: EncoderConfig, sets: tuple[PatchSet, ...], ranks: Ranks
) -> Loss:
    """Draws a batch in two views; features of all ranks are compared together."""
    crop = config.cell + config.shift
    sampler = CropSampler(sets, crop, config.seed, config.weights)
    share = ranks.share(config.batch)

    def draw(step: int) -> torch.Tensor:
        pixels = torch.from_numpy(sampler.batch(step, config.batch)[0]).permute(0, 3, 1, 2)
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        views = [view(pixels, config, random)[share], view(pixels, config, random)[share]]
        return torch.cat(views)

    ahead = Ahead(draw, ranks.device.type != "cpu")

    def loss(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        views = ahead(step).to(ranks.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(ranks.device.type, torch.bfloat16, enabled=config.bf16):
            first, second = net(views).float().chunk(2)
        return vicreg(ranks.gather(first), ranks.gather(second), config)

    return loss


def view(pixels: torch.Tensor, config: EncoderConfig, random: torch.Generator) -> torch.Tensor:
    """One view of uint8 (batch, 3, cell+shift, cell+shift): moved, recoloured a little, noisy.

    Never flipped or turned: an embedding says which way a street runs. Returns float32 in -1..1.
    """
    n, cell = len(pixels), config.cell
    rows = torch.randint(config.shift + 1, (n,), generator=random)
    cols = torch.randint(config.shift + 1, (n,), generator=random)
    moved = torch.stack(
        [
            image[:, row : row + cell, col : col + cell]
            for image, row, col in zip(pixels, rows.tolist(), cols.tolist(), strict=True)
        ]
    )
    image = moved.float() / 127.5 - 1
    gain = 1 + config.colour * torch.randn(n, 3, 1, 1, generator=random)
    shift = config.colour * torch.randn(n, 1, 1, 1, generator=random)
    noise = 2 * config.noise * torch.randn(image.shape, generator=random)
    return image * gain + shift + noise


def vicreg(
    first: torch.Tensor, second: torch.Tensor, config: EncoderConfig
) -> tuple[torch.Tensor, Mapping[str, float]]:
    """Variance-invariance-covariance loss of two (batch, dim) views.

    Bardes, Ponce, LeCun 2022, equations 1 to 6. The figure ``agree`` is the mean cosine of pairs.
    """
    invariance = nn.functional.mse_loss(first, second)
    variance = torch.stack([(1 - v.std(0)).clamp(min=0).mean() for v in (first, second)]).mean()
    covariance = torch.stack([off_diagonal(v) for v in (first, second)]).mean()
    total = config.invariance * invariance + config.variance * variance
    total = total + config.covariance * covariance
    agree = nn.functional.cosine_similarity(first.detach(), second.detach()).mean()
    return total, {"agree": float(agree), "covariance": float(covariance.detach())}


def off_diagonal(values: torch.Tensor) -> torch.Tensor:
    """Sum of squared covariances between different features, divided by the features' number."""
    centred = values - values.mean(0)
    covariance = centred.T @ centred / (len(values) - 1)
    squared = covariance.square()
    return (squared.sum() - squared.diagonal().sum()) / values.shape[1]
