"""Checkpoints as the package sees them, without a file: tensors that are already in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from geodiff.models.foreign.latent_diffusion import LatentDiffusion, take_apart
from geodiff.models.foreign.project import Project
from geodiff.models.foreign.stored import Stored, contiguous


@dataclass(frozen=True)
class Memory:
    """Bytes that are in no file."""

    held: bytearray

    @property
    def size(self) -> int:
        return len(self.held)

    def read(self) -> bytearray:
        return self.held.copy()


def stored(state: Mapping[str, torch.Tensor]) -> dict[str, Stored]:
    """The tensors as if they lay in a file."""
    made = {}
    for name, value in state.items():
        flat = value.contiguous().reshape(-1).view(torch.uint8)
        held = Memory(bytearray(flat.numpy().tobytes()))
        shape = tuple(value.shape)
        made[name] = Stored(held, value.dtype, shape, contiguous(shape))
    return made


def found_in(state: Mapping[str, torch.Tensor], **options: Any) -> LatentDiffusion:
    """What is found in a table of tensors."""
    return take_apart(stored(state), options.pop("project", Project()), **options)


def networks(state: Mapping[str, torch.Tensor], **options: Any) -> tuple[LatentDiffusion, Any]:
    """What was found, and its networks with their weights, on the CPU in double precision."""
    placed = stored(state)
    found = take_apart(placed, options.pop("project", Project()), **options)
    nets = {}
    for part, net in found.networks.items():
        tensors = dict(found.accounts.tensors(part, placed))
        net.load_state_dict(tensors, assign=True)
        nets[part] = net.double().eval().requires_grad_(False)
    return found, nets
