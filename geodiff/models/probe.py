"""Latents of a cell to the embedding that their pixels would have, without decoding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from geodiff.models.casting import cast
from geodiff.models.parts import read_network, write_network
from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import ConfigMixin, ModelMixin  # noqa: E402  (needs the shim first)
from diffusers.configuration_utils import register_to_config  # noqa: E402

TOGETHER = 64
"""Cells that go through the network at once; the last ones are filled up to as many."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape out as in."""
        inner = self.first(nn.functional.silu(self.norm(x)))
        changed: torch.Tensor = x + self.second(nn.functional.silu(inner))
        return changed


class LatentNetwork(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A small convolutional network over the latents of one cell, ``side`` x ``side``.

    The sides halve between ``widths`` as long as they are even; the last map is flattened, so that
    what lies where in the cell is told.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int = 8,
        dim: int = 64,
        side: int = 8,
        widths: Sequence[int] = (48, 96, 192),
        layers: int = 1,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
        for level, width in enumerate(widths):
            if level:
                stride = 2 if side % 2 == 0 else 1
                blocks.append(nn.Conv2d(widths[level - 1], width, stride, stride=stride))
                side //= stride
            blocks += [Residual(width) for _ in range(layers)]
        self.body = nn.Sequential(*blocks, nn.GroupNorm(8, widths[-1]), nn.SiLU())
        self.head = nn.Linear(widths[-1] * side * side, dim)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """(n, channel, side, side) -> (n, dim), not normalised."""
        vectors: torch.Tensor = self.head(self.body(latents).flatten(1))
        return vectors


@dataclass(frozen=True)
class Probe:
    """A trained network with the precision it runs in."""

    net: LatentNetwork
    bf16: bool = True

    @property
    def side(self) -> int:
        """Latents along one side of a cell."""
        return int(self.net.config["side"])

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.net.config["dim"])

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.net.config["channels"])

    def cosines(self, latents: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Cosine (n,) of ``asked`` (n, dim), unit vectors, and what the latents would show."""
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=self.bf16):
            vectors = self.net(latents.contiguous(memory_format=torch.channels_last))
        return (nn.functional.normalize(vectors.float(), dim=1) * asked).sum(1)

    def nudge(self, latents: torch.Tensor, asked: torch.Tensor, strength: float) -> torch.Tensor:
        """Latents (n, channel, side, side) a step nearer to showing ``asked`` (n, dim).

        One step down the gradient of one minus the cosine, whose root mean square is ``strength``
        times that difference, at most ``strength``: the backward guidance of a clean prediction by
        Bansal et al. 2023 (arXiv:2302.07121, section 3.2), with a step of a set length. Each cell
        is changed by itself, in batches of one size, so it does not depend on those beside it.
        """
        device = next(self.net.parameters()).device
        moved = torch.empty_like(latents)
        for first in range(0, len(latents), TOGETHER):
            part = latents[first : first + TOGETHER]
            filled = [torch.zeros((TOGETHER, *x.shape[1:])) for x in (part, asked)]
            filled[0][: len(part)] = part
            filled[1][: len(part)] = asked[first : first + TOGETHER]
            cells, wanted = (x.to(device) for x in filled)
            with torch.enable_grad():  # samplers run without
                cells.requires_grad_(True)
                lack = 1 - self.cosines(cells, wanted)
                (slope,) = torch.autograd.grad(lack.sum(), cells)
            rms = slope.square().mean((1, 2, 3)).sqrt().clamp_min(1e-8)
            length = strength * lack.detach().clamp(0, 1) / rms
            near = cells.detach() - length[:, None, None, None] * slope
            moved[first : first + TOGETHER] = near[: len(part)].to(moved)
        return moved

    def to(self, device: torch.device, bf16: bool) -> Probe:
        """The same probe on ``device``."""
        return replace(self, net=cast(self.net, device=device, channels_last=True), bf16=bf16)

    def save(self, folder: Path) -> None:
        """Write diffusers' layout (config.json and safetensors, half precision)."""
        write_network(self.net, folder)

    @classmethod
    def load(cls, folder: Path) -> Probe:
        """Read what :meth:`save` wrote. Raises ModelError where parts are missing or misfit."""
        return cls(read_network(LatentNetwork, folder, "probe"))
