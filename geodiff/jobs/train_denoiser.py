"""Encoded patches -> a denoiser: rectified flow under the interpolated embedding field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel

from geodiff.diffusion import flow_matching_loss
from geodiff.errors import ModelError, UsageError
from geodiff.jobs.datasets.dataset import PatchSet, open_sets
from geodiff.jobs.train_codec import load_codec
from geodiff.jobs.training.ahead import Ahead
from geodiff.jobs.training.batches import Batch, crop_size, draw
from geodiff.jobs.training.config import DenoiserConfig
from geodiff.jobs.training.guided import Teacher, unlearned, with_guidance
from geodiff.jobs.training.latents import LatentSet, encode_sets
from geodiff.jobs.training.ranks import Ranks
from geodiff.jobs.training.ranks import start as start_ranks
from geodiff.jobs.training.run import After, Loss, Run
from geodiff.jobs.training.samples import examples, paintings, unit_of
from geodiff.models.casting import cast
from geodiff.models.codec import Codec
from geodiff.models.denoiser import Denoiser, FieldUNet
from geodiff.models.encoder import Encoder
from geodiff.steps import Step


def train_denoiser(config: DenoiserConfig) -> Iterator[Step]:
    """Train a denoiser, yielding figures; the finished part lies in ``<run>/denoiser``.

    The codec and encoder parts it belongs to are named in ``config``; patches are encoded once
    into ``<run>/cache``.
    """
    with start_ranks(config.device) as ranks:
        torch.manual_seed(config.seed)
        codec = load_codec(config.codec).to(ranks.device)
        encoder = Encoder.load(Path(config.encoder))
        cast(encoder.net, device=ranks.device)
        patch_sets = open_sets(config.datasets, config.window * codec.factor)
        check_windows(config, patch_sets, codec.factor)
        check_ranks(config, ranks)
        cache = Path(config.run) / "cache"
        sets = yield from encode_sets(patch_sets, codec, encoder, config.orientations, cache, ranks)
        net = cast(start(config, codec.channels, encoder.dim), device=ranks.device)
        run = Run(net, config, ranks)
        painter = Painter(codec, encoder, patch_sets)
        teacher = teacher_of(net, config, ranks)
        after = watch(run, net, sets, config, painter, teacher)
        loss = loss_of(net, config, sets, ranks, teacher)
        yield from run.steps(loss, "train denoiser", after)
        if ranks.lead:
            export(run, net, run.folder / "denoiser")  # also where a finished run is started again
        ranks.wait()


def loss_of(
    net: FieldUNet,
    config: DenoiserConfig,
    sets: list[LatentSet],
    ranks: Ranks,
    teacher: Teacher | None,
) -> Loss:
    """Draws this rank's share of a batch and computes its loss."""

    def batch(step: int) -> Batch:
        return draw(sets, config, (config.seed, step), "train", ranks)

    ahead = Ahead(batch, ranks.device.type != "cpu")

    def loss(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        drawn = ahead(step).to(ranks.device)
        value = batch_loss(net.train(), drawn, config, teacher)
        return (value if drawn.weight == 1 else value * drawn.weight), {}

    return loss


@dataclass(frozen=True)
class Painter:
    """What turns latents back into pictures while a denoiser learns."""

    codec: Codec
    encoder: Encoder
    sets: tuple[PatchSet, ...]

    def sheet(self, run: Run, net: FieldUNet, config: DenoiserConfig) -> NDArray[np.uint8]:
        """Held-out patches, what the codec keeps, and what the averaged weights paint."""
        unit = unit_of(self.codec, self.encoder, len(config.widths))
        pixels, gsd = examples(self.sets, config.samples, unit)
        with run.averaged():
            return paintings(net.eval(), self.codec, self.encoder, pixels, gsd, config.bf16)


def watch(
    run: Run,
    net: FieldUNet,
    sets: list[LatentSet],
    config: DenoiserConfig,
    painter: Painter,
    teacher: Teacher | None,
) -> After:
    """Validate and write the part at every checkpoint, and paint samples now and then."""

    def after(step: int) -> Iterator[Step]:
        if not run.ranks.lead:
            return
        if run.due(config.save_every):
            yield Step("validate", step, config.steps, validate(run, net, sets, config, teacher))
            export(run, net, run.folder / "denoiser")
        if run.due(config.sample_every):
            run.picture("denoiser", painter.sheet(run, net, config))

    return after


def check_ranks(config: DenoiserConfig, ranks: Ranks) -> None:
    """Raises UsageError for a batch that does not divide by the ranks, or too few large windows."""
    ranks.check(config.batch)
    smallest = min(crop_size(config, step)[1] for step in range(max(1, config.large_every)))
    if smallest < ranks.world:
        raise UsageError(
            f"{smallest} large windows in a batch are fewer than {ranks.world} ranks: give a "
            "larger batch or large_every = 0"
        )


def check_windows(config: DenoiserConfig, sets: tuple[PatchSet, ...], factor: int) -> None:
    """Raises UsageError for windows the network cannot halve, or larger than every patch."""
    halvings = 2 ** (len(config.widths) - 1)
    large = config.large_window if config.large_every else config.window
    largest = max(patches.pixels.shape[1] for patches in sets) // factor
    if config.window % halvings or large % halvings or large > largest:
        raise UsageError(
            f"window {config.window} and large_window {large} must be multiples of {halvings} and "
            f"fit the largest patch, {largest} latents; large_every = 0 does without large windows"
        )


def start(config: DenoiserConfig, channels: int, dim: int) -> FieldUNet:
    """A new network, or the one in ``start_from``."""
    if config.start_from:
        net = Denoiser.load(Path(config.start_from)).net
        net.requires_grad_(True)
        found = net.config["channels"], net.config["dim"]
        if found != (channels, dim):
            raise ModelError(
                f"the denoiser {config.start_from} is for {found[0]} channels and embeddings of "
                f"{found[1]}; codec and encoder have {channels} and {dim}"
            )
    else:
        net = FieldUNet(
            channels, dim, config.widths, config.layers, config.field_channels, config.dropout
        )
    if config.teacher is not None:
        net = with_guidance(net, config.guidance)
    return cast(net, channels_last=True)


def teacher_of(net: FieldUNet, config: DenoiserConfig, ranks: Ranks) -> Teacher | None:
    """The network in ``config.teacher``, for ``net``. Raises ModelError where they do not fit."""
    if config.teacher is None:
        return None
    found = Denoiser.load(Path(config.teacher)).net
    for fact in ("channels", "dim"):
        if found.config[fact] != net.config[fact]:
            raise ModelError(
                f"the teacher {config.teacher} has {fact} = {found.config[fact]}, this denoiser "
                f"{net.config[fact]}"
            )
    return Teacher(cast(found, device=ranks.device), config.bf16)


def batch_loss(
    net: FieldUNet, batch: Batch, config: DenoiserConfig, teacher: Teacher | None = None
) -> torch.Tensor:
    """Flow matching loss of a batch, towards the teacher where there is one.

    Guided predictions differ the more, the larger the scale: their errors are divided by it, crop
    by crop, so that the mean over ranks is that of the whole batch.
    """
    scale = batch.guidance.view(-1, 1, 1, 1)

    def velocity(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        # Few tokens: on a CPU the plain product trains 1.3 times faster than the fused kernel.
        kind = noisy.device.type
        plain = sdpa_kernel(SDPBackend.MATH) if kind == "cpu" else nullcontext()
        with plain, torch.autocast(kind, torch.bfloat16, enabled=config.bf16):
            out: torch.Tensor = net(
                noisy, time, batch.field, batch.gsd, batch.known, batch.guidance
            )
        return out.float() / scale

    def target(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        wanted = batch.noise - batch.clean
        return (wanted if teacher is None else teacher.target(batch, noisy, time)) / scale

    return flow_matching_loss(velocity, batch.clean, batch.noise, batch.time, target=target)


@torch.no_grad()
def validate(
    run: Run,
    net: FieldUNet,
    sets: list[LatentSet],
    config: DenoiserConfig,
    teacher: Teacher | None,
) -> dict[str, float]:
    """Loss of the averaged weights on fixed crops of the val places, and see ``unlearned``."""
    if not any(len(s.val) for s in sets):
        return {}
    alone = Ranks(device=run.ranks.device)
    batches = [draw(sets, config, (config.seed, -k - 1 + 2**40), "val", alone) for k in range(4)]
    batches = [b.to(run.ranks.device) for b in batches]
    with run.averaged():
        net.eval()
        figures = {
            "val_loss": float(torch.stack([batch_loss(net, b, config) for b in batches]).mean())
        }
        if teacher is not None:
            figures["val_unlearned"] = unlearned(net, teacher, batches, config.guidance)
    return figures


@torch.no_grad()
def export(run: Run, net: FieldUNet, folder: Path) -> None:
    """Write the averaged weights as a usable part, leaving the training weights as they are."""
    with run.averaged(), run.writing(folder):
        Denoiser(net).save(folder)
