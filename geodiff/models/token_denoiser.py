"""A denoiser of other programs: a UNet with cross-attention that predicts the noise."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geodiff.diffusion.beta_table import BetaTable
from geodiff.models.casting import cast
from geodiff.models.conditioner import Conditioner
from geodiff.models.constant_attention import Constants, fold_attention
from geodiff.models.parts import UNREADABLE, parsed, read_network, unreadable
from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import UNet2DConditionModel  # noqa: E402  (needs the shim first)

KEPT = 512
"""Windows whose tokens are remembered: a few MB for one token each, 70 MB for 65."""


@dataclass(frozen=True)
class UNetSizes:
    """Sizes of the UNet of latent diffusion (Rombach et al. 2022, arXiv:2112.10752)."""

    channels_in: int
    channels_out: int
    widths: tuple[int, ...]  # channels of each level, finest first
    blocks: int  # residual blocks of a level on the way down; one more on the way up
    attended: tuple[bool, ...]  # levels with transformers; the middle always has one
    depth: int  # blocks of a transformer
    context: int  # length of a token
    heads: int | tuple[int, ...] = 1  # of attention, at each level
    size: int | None = None  # latents a side of the training windows, for the configuration


def new_unet(sizes: UNetSizes) -> UNet2DConditionModel:
    """A fresh UNet of these sizes."""
    down = ["CrossAttnDownBlock2D" if attention else "DownBlock2D" for attention in sizes.attended]
    up = ["CrossAttnUpBlock2D" if attention else "UpBlock2D" for attention in sizes.attended]
    return UNet2DConditionModel(
        sample_size=sizes.size,
        in_channels=sizes.channels_in,
        out_channels=sizes.channels_out,
        down_block_types=tuple(down),
        up_block_types=tuple(reversed(up)),
        mid_block_type="UNetMidBlock2DCrossAttn",
        block_out_channels=sizes.widths,
        layers_per_block=sizes.blocks,
        transformer_layers_per_block=sizes.depth,
        cross_attention_dim=sizes.context,
        attention_head_dim=sizes.heads,
    )


MORE = (
    "addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim",
    "encoder_hid_dim_type", "time_cond_proj_dim",
)  # fmt: skip
"""Entries of a UNet's configuration that ask for more than noise, a time and tokens."""


def read_unet(folder: Path) -> UNet2DConditionModel:
    """Read diffusers' folder of a UNet. Raises ModelError for one that tokens are not all for."""
    net = read_network(UNet2DConditionModel, folder, "denoiser")
    asked = [f"{name} {net.config[name]!r}" for name in MORE if net.config[name] is not None]
    if net.config["in_channels"] != net.config["out_channels"]:
        counts = net.config["in_channels"], net.config["out_channels"]
        asked.append("{} channels for {} that it gives".format(*counts))
    if asked:
        raise unreadable("denoiser", folder, ValueError(f"it asks for {', '.join(asked)}"))
    return net


@dataclass(frozen=True)
class TokenDenoiser:
    """A UNet that predicts noise, under tokens that a conditioner makes of a window's embedding.

    With one token a window the cross-attentions are folded into ``constants``, else it is None.
    """

    net: UNet2DConditionModel
    conditioner: Conditioner
    table: BetaTable
    constants: Constants | None = None
    bf16: bool = True
    count: int = 0  # weights, those of the conditioner and of folded layers too
    # What the network attends to, by the bytes of a window's embeddings; oldest use first.
    contexts: OrderedDict[bytes, torch.Tensor] = field(default_factory=OrderedDict)

    @classmethod
    def of(
        cls, net: UNet2DConditionModel, conditioner: Conditioner, table: BetaTable, bf16: bool
    ) -> TokenDenoiser:
        """A denoiser of its parts; ``net`` is changed in place where one token makes it simpler."""
        count = sum(p.numel() for part in (net, conditioner.net) for p in part.parameters())
        constants = fold_attention(net) if conditioner.sizes.tokens == 1 else None
        cast(net, channels_last=True)
        return cls(net, conditioner, table, constants, bf16, count)

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.net.config["in_channels"])

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.conditioner.sizes.dim

    @property
    def multiple(self) -> int:
        """Sides of a window must be multiples of so many latents."""
        return int(2 ** (len(self.net.config["block_out_channels"]) - 1))

    @property
    def sigma_max(self) -> float:
        """The highest noise level that the network knows."""
        return float(self.table.sigmas[-1])

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self.count

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        device: torch.device = next(self.net.parameters()).device
        return device

    @property
    def taught(self) -> tuple[float, float] | None:
        """None: guidance takes two evaluations."""
        return None

    def knows(self, guidance: float) -> bool:
        """No scale of guidance."""
        return False

    def clean(
        self,
        x: torch.Tensor,
        sigma: float,
        field: torch.Tensor | None,
        gsd: float,
        guidance: float = 1.0,
    ) -> torch.Tensor:
        """The clean latents expected behind ``x = clean + sigma * noise``: float32, x's shape.

        ``x`` is float32 (batch, channel, row, col); ``field`` (batch, dim, row, col) are unit
        vectors, one for each latent, of which the one in the middle of the window counts; None is
        the unconditional prediction. Such networks know no pixel size: ``gsd`` is without effect.
        Raises ValueError for guidance other than 1.
        """
        if guidance != 1:
            raise ValueError(f"this denoiser was not taught guidance {guidance:g}")
        device = self.device
        context = self.context(field, len(x))
        # What the network was trained on: x_t = sqrt(abar) clean + sqrt(1 - abar) noise.
        noisy = (x / (1 + sigma**2) ** 0.5).to(device)
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        time = torch.full((len(x),), self.table.time(sigma), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            noise: torch.Tensor = self.net(noisy, time, context, return_dict=False)[0]
        return x - sigma * noise.float().to(x.device)

    def context(self, field: torch.Tensor | None, batch: int) -> torch.Tensor:
        """What the network attends to in each window: float32 (batch, token, length)."""
        if field is None:
            return self.remembered(b"", None).expand(batch, -1, -1)
        grids = centres(field, self.conditioner.sizes.side).float().cpu().contiguous()
        found = [self.remembered(grid.numpy().tobytes(), grid[None]) for grid in grids]
        return torch.cat(found)

    def remembered(self, key: bytes, grid: torch.Tensor | None) -> torch.Tensor:
        """The same for one window, computed at its first use."""
        made = self.contexts.pop(key, None)  # each step is safe with calls beside each other
        if made is None:
            made = self.conditioner.tokens(None if grid is None else grid.to(self.device))
            made = made if self.constants is None else self.constants(made)
        self.contexts[key] = made
        while len(self.contexts) > KEPT:
            self.contexts.popitem(last=False)
        return made

    def to(self, device: torch.device) -> TokenDenoiser:
        """The same denoiser on ``device``, for sampling only; its networks are changed in place."""
        for part in (self.net, self.conditioner.net, self.constants):
            if part is not None:
                cast(part, device=device)
        self.contexts.clear()
        if self.bf16:  # to the bit what autocast would make of them at every call
            for module in self.net.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.to(torch.bfloat16)
        return self

    @classmethod
    def load(cls, folder: Path, bf16: bool = True) -> TokenDenoiser:
        """Read a denoiser's folder and its neighbour ``conditioner``.

        Raises ModelError where parts are missing or do not fit each other.
        """
        net = read_unet(folder)
        conditioner = Conditioner.load(folder.parent / "conditioner")
        if net.config["cross_attention_dim"] != conditioner.sizes.width:
            fault = ValueError(
                f"it attends to tokens of length {net.config['cross_attention_dim']}, but the "
                f"conditioner makes them {conditioner.sizes.width} long"
            )
            raise unreadable("denoiser", folder, fault)
        return cls.of(net, conditioner, read_schedule(folder), bf16)


def centres(field: torch.Tensor, side: int) -> torch.Tensor:
    """The vectors in the middle of each of ``side * side`` parts of a window, rows first.

    ``field`` (batch, dim, row, col) -> unit vectors (batch, side * side, dim). The middle of a
    window lies between its latents where their number is even: the mean of the nearest ones.
    """
    picked = []
    for axis in (2, 3):
        part = field.shape[axis] / side
        middles = [(i + 0.5) * part - 0.5 for i in range(side)]
        picked.append([(int(middle), int(middle + 0.5)) for middle in middles])
    rows = torch.stack([field[:, :, list(pair)].mean(2) for pair in picked[0]], dim=2)
    grid = torch.stack([rows[..., list(pair)].mean(3) for pair in picked[1]], dim=3)
    return nn.functional.normalize(grid.flatten(2).movedim(1, -1), dim=-1)


def read_schedule(folder: Path) -> BetaTable:
    """The table of betas in schedule.json. Raises ModelError for any other kind of schedule."""
    try:
        facts: dict[str, Any] = parsed(folder / "schedule.json")
        for name, known in (("prediction", "epsilon"), ("beta_schedule", "scaled_linear")):
            if facts[name] != known:
                raise ValueError(f"{name} is {facts[name]!r}, only {known!r} is known")
        return BetaTable(int(facts["steps"]), float(facts["beta_start"]), float(facts["beta_end"]))
    except UNREADABLE as error:
        raise unreadable("schedule", folder, error) from error
