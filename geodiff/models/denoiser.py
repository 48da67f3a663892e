"""The denoising network: a diffusers UNet that sees an embedding field and the pixel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from geodiff.diffusion import Precondition
from geodiff.models.casting import cast
from geodiff.models.parts import read_network, write_network
from geodiff.models.sampling_blocks import with_sampling_blocks
from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import ConfigMixin, ModelMixin, UNet2DModel  # noqa: E402  (needs the shim first)
from diffusers.configuration_utils import register_to_config  # noqa: E402

REFERENCE_GSD = 0.6
"""Metres per pixel at which the pixel-size input is zero."""


class FieldUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Velocity of a rectified flow under a dense embedding field.

    The field enters three times: projected to a few channels beside the latents, added to the
    features before every block at that block's resolution (where things are), and averaged over
    the window into the adaptive group norms (what the place is like). The pixel size enters the
    norms as log2(gsd / 0.6). A learned null vector stands for "no embedding".

    With ``guidance``, the lowest and highest scale of classifier-free guidance that it was taught,
    the scale enters the norms as its log2: one evaluation gives what two give otherwise (guidance
    distillation, Meng et al. 2023, arXiv:2210.03142). Empty: it knows none.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int = 4,
        dim: int = 64,
        widths: Sequence[int] = (64, 128, 192),
        layers: int = 2,
        field_channels: int = 16,
        dropout: float = 0.0,
        guidance: Sequence[float] = (),
    ) -> None:
        super().__init__()
        deep = len(widths) - 1
        self.unet = UNet2DModel(
            in_channels=channels + field_channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            down_block_types=("DownBlock2D",) * deep + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * deep,
            attention_head_dim=32,
            norm_num_groups=16,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",
            dropout=dropout,
        )
        width = 4 * widths[0]
        self.null = nn.Parameter(torch.zeros(dim))
        self.project = nn.Sequential(
            nn.Conv2d(dim, 2 * field_channels, 1),
            nn.SiLU(),
            nn.Conv2d(2 * field_channels, field_channels, 1),
        )
        self.pooled = nn.Sequential(nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, width))
        self.scale = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, width))
        self.lift = nn.Sequential(nn.Conv2d(dim, 2 * dim, 1), nn.SiLU())
        # Features on their way into the blocks: down, then up (which begins at the deepest level).
        into = [widths[0], *widths[:-1], widths[-1], *reversed(widths[1:])]
        self.inject = nn.ModuleList(nn.Conv2d(2 * dim, count, 1) for count in into)
        zeroed = [self.pooled[-1], self.scale[-1], *self.inject]
        if guidance:
            self.guided = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, width))
            zeroed.append(self.guided[-1])
        for last in zeroed:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        field: torch.Tensor,
        gsd: torch.Tensor,
        known: torch.Tensor,
        guidance: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Velocity noise - clean, (batch, channel, row, col).

        ``noisy`` (batch, channel, row, col), ``time`` (batch,) in 0..1, ``field`` (batch, dim, row,
        col) of unit vectors, ``gsd`` (batch,) in metres per pixel, ``known`` (batch,) bool: where
        False the field is replaced by the learned null. ``guidance`` (batch,) are scales; None: 1.
        """
        mask = known[:, None, None, None].to(field.dtype)
        # Times sqrt(dim), so that entries of a unit vector have about unit variance.
        field = mask * field * field.shape[1] ** 0.5 + (1 - mask) * self.null[:, None, None]
        size = torch.log2(gsd.float() / REFERENCE_GSD)[:, None]
        vector = self.pooled(field.mean((2, 3))) + self.scale(size)
        if self.config["guidance"]:
            scales = torch.ones_like(gsd) if guidance is None else guidance
            vector = vector + self.guided(torch.log2(scales.float())[:, None])
        inputs = torch.cat([noisy, self.project(field).to(noisy.dtype)], dim=1)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self.walk(inputs, time, vector, self.lift(field))

    def walk(
        self, inputs: torch.Tensor, time: torch.Tensor, vector: torch.Tensor, lifted: torch.Tensor
    ) -> torch.Tensor:
        """The UNet's own blocks in their order, with the lifted field added before each."""
        unet, deep = self.unet, len(self.unet.down_blocks) - 1
        fields = [lifted]
        for _ in range(deep):
            fields.append(nn.functional.avg_pool2d(fields[-1], 2))
        steps = unet.time_proj(time * 1000).to(unet.time_embedding.linear_1.weight.dtype)
        embedding = unet.time_embedding(steps) + vector
        added = iter(self.inject)
        sample = unet.conv_in(inputs)
        skips = [sample]
        for level, block in enumerate(unet.down_blocks):
            sample = sample + next(added)(fields[level])
            sample, kept = block(hidden_states=sample, temb=embedding)
            skips += kept
        sample = unet.mid_block(sample, embedding)
        for level, block in zip(range(deep, -1, -1), unet.up_blocks, strict=True):
            sample = sample + next(added)(fields[level])
            taken = len(block.resnets)
            sample = block(sample, tuple(skips[-taken:]), embedding)
            del skips[-taken:]
        velocity: torch.Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(sample)))
        return velocity


@dataclass(frozen=True)
class Denoiser:
    """A trained network with the precision it runs in."""

    net: FieldUNet
    bf16: bool = True

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.net.config["channels"])

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.net.config["dim"])

    @property
    def multiple(self) -> int:
        """Sides of a window must be multiples of so many latents: the network halves them."""
        return int(2 ** (len(self.net.config["widths"]) - 1))

    @property
    def sigma_max(self) -> float:
        """The highest noise level of sampling, a flow time of 0.99."""
        return 99.0

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.net.parameters()).device  # type: ignore[no-any-return]

    @property
    def taught(self) -> tuple[float, float] | None:
        """Lowest and highest scale of guidance that the network knows; None: it knows none."""
        scales = self.net.config["guidance"]
        return (float(scales[0]), float(scales[1])) if scales else None

    def knows(self, guidance: float) -> bool:
        """Whether the network was taught this scale of guidance: one call gives what two would."""
        return self.taught is not None and self.taught[0] <= guidance <= self.taught[1]

    def velocity(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        field: torch.Tensor | None,
        gsd: float,
        guidance: float = 1.0,
    ) -> torch.Tensor:
        """float32 velocity of a batch of windows (batch, channel, row, col).

        ``time`` is (batch,) in 0..1; ``field`` is (batch, dim, row, col), or None: unconditional.
        Raises ValueError for a ``guidance`` other than 1 that the network does not know.
        """
        if guidance != 1 and not self.knows(guidance):
            raise ValueError(f"this denoiser was not taught guidance {guidance:g}")
        first = next(self.net.parameters())
        n, _, rows, cols = noisy.shape
        known = torch.full((n,), field is not None, device=first.device)
        if field is None:
            field = torch.zeros(n, self.net.config["dim"], rows, cols)
        with torch.autocast(first.device.type, torch.bfloat16, enabled=self.bf16):
            out = self.net(
                noisy.to(first.device),
                time.to(first.device),
                field.to(first.device),
                torch.full((n,), gsd, device=first.device),
                known,
                torch.full((n,), guidance, device=first.device),
            )
        velocity: torch.Tensor = out.float().to(noisy.device)
        return velocity

    def clean(
        self,
        x: torch.Tensor,
        sigma: float,
        field: torch.Tensor | None,
        gsd: float,
        guidance: float = 1.0,
    ) -> torch.Tensor:
        """The clean latents behind ``x = clean + sigma * noise``, see ``protocols``."""
        return Precondition(lambda x_t, t: self.velocity(x_t, t, field, gsd, guidance))(x, sigma)

    def to(self, device: torch.device) -> Denoiser:
        """The same denoiser on ``device``, for sampling only; its network is changed in place.

        In bfloat16 the weights of all products stay in it, to the bit as autocast would make them
        at every call, which takes some per cent of the time. On a CPU the blocks are exchanged for
        those of ``sampling_blocks``.
        """
        cast(self.net, device=device)
        if device.type == "cpu":
            with_sampling_blocks(self.net)
        if self.bf16:
            for module in self.net.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.to(torch.bfloat16)
        return self

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.net.parameters())

    def save(self, folder: Path) -> None:
        """Write diffusers' layout (config.json and safetensors, half precision) into ``folder``."""
        write_network(self.net, folder)

    @classmethod
    def load(cls, folder: Path, bf16: bool = True) -> Denoiser:
        """Read what :meth:`save` wrote. Raises ModelError where parts are missing or misfit."""
        net = read_network(FieldUNet, folder, "denoiser")
        return cls(cast(net, channels_last=True), bf16)
