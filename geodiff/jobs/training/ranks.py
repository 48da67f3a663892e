"""One training run on several processes (torchrun): shares of a batch, sums, mean gradients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from geodiff.errors import GeodiffError, UsageError
from geodiff.models.bundle import choose_device

PATIENCE = timedelta(hours=12)
"""How long ranks wait for each other: the first one encodes whole datasets alone."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process (``rank``) among ``world`` of them, and the device that it trains on.

    Every rank knows the whole batch of a step, a pure function of (seed, step), and works on every
    ``world``-th sample of it. Weights, averages and optimisers stay the same on all of them.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def lead(self) -> bool:
        """Whether this rank writes files and tells what happens."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of ``count`` samples are this rank's."""
        return slice(self.rank, count, self.world)

    def weight(self, count: int) -> float:
        """Factor on a mean over the own share, so that the mean over ranks is that of all."""
        return len(range(self.rank, count, self.world)) * self.world / count

    def check(self, batch: int) -> None:
        """Raises UsageError for a batch that does not divide by the number of ranks."""
        if batch % self.world:
            raise UsageError(f"batch {batch} does not divide by the {self.world} ranks of torchrun")

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Mean over ranks of a detached value; the value itself where there is one."""
        if self.world == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.world

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over ranks, in one message."""
        if self.world == 1:
            return
        given = [parameter.grad for parameter in parameters]
        gradients = [gradient for gradient in given if gradient is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        start = 0
        for gradient in gradients:
            part = flat[start : start + gradient.numel()]
            gradient.copy_(part.view(gradient.shape))
            start += gradient.numel()

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """(n, ...) of every rank, in rank order, with gradients for each of them."""
        if self.world == 1:
            return values
        before = values.new_zeros(self.rank * len(values), *values.shape[1:])
        after = values.new_zeros((self.world - 1 - self.rank) * len(values), *values.shape[1:])
        return total(torch.cat([before, values, after]))

    def wait(self) -> None:
        """Return when every rank is here."""
        if self.world > 1:
            met = torch.zeros(1, device=self.device)
            dist.all_reduce(met)
            float(met)  # on a GPU the line before only asks for it

    def agree(self, step: int) -> None:
        """Raises GeodiffError where ranks start from different checkpoints."""
        steps = self.gather(torch.tensor([step], dtype=torch.float64, device=self.device))
        if len(set(steps.tolist())) > 1:
            raise GeodiffError(
                f"ranks start from different steps, {[int(s) for s in steps.tolist()]}: all of "
                "them must see the same run folder"
            )


@contextmanager
def start(device: str) -> Iterator[Ranks]:
    """The ranks that torchrun started, or this process alone, on ``device``.

    auto takes a GPU where there is one; rank k of a machine takes its k-th.
    """
    chosen, world = choose_device(device), int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(device=chosen)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if chosen.type == "cuda":
        chosen = choose_device(f"cuda:{local}")
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), world, chosen)
    finally:
        dist.destroy_process_group()


class _Total(torch.autograd.Function):
    """Sum over ranks; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum over ranks that gradients pass through."""
    apply: Callable[[torch.Tensor], torch.Tensor] = _Total.apply
    return apply(values)


def share_norms(net: nn.Module, ranks: Ranks) -> None:
    """Let batch norms take their statistics over all ranks; nothing is changed for one rank."""
    if ranks.world == 1:
        return
    for module in net.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            module.forward = partial(_normalise, module)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UsageError(
                f"the network has norms of the kind {type(module).__name__}, which cannot be "
                "shared between ranks: train it in one process"
            )


def _normalise(norm: Any, values: torch.Tensor) -> torch.Tensor:
    """Batch norm of (batch, channel, ...) over all ranks; Ioffe and Szegedy 2015, algorithm 1."""
    if not norm.training:
        return functional.batch_norm(
            values, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
    exact = values.float()
    others = [axis for axis in range(values.ndim) if axis != 1]
    shape = [1, -1] + [1] * (values.ndim - 2)
    local = values.numel() // values.shape[1]
    count = float(total(exact.new_tensor([float(local)])))
    mean = total(exact.sum(others)) / count
    offset = exact - mean.view(shape)
    variance = total(offset.square().sum(others)) / count
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
    result = offset * (variance + norm.eps).rsqrt().view(shape)
    if norm.weight is not None:
        result = result * norm.weight.view(shape) + norm.bias.view(shape)
    normal: torch.Tensor = result.to(values.dtype)
    return normal
