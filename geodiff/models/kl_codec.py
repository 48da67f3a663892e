"""Pixels to latents and back by the variational autoencoders of diffusers (AutoencoderKL)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from geodiff.errors import ModelError
from geodiff.models.codec import check_sides, to_unit
from geodiff.models.parts import read_network
from geodiff.models.torchvision_shim import ensure_torchvision
from geodiff.models.vq_codec import VQCodec

ensure_torchvision()
from diffusers import AutoencoderKL  # noqa: E402  (needs the shim first)


@dataclass(frozen=True)
class KLCodec(VQCodec):
    """An autoencoder without a book, encoded to the mean of its latents' distribution.

    Like that with a book it sees the whole tile: its middle attends, its norms are over the image.
    """

    net: AutoencoderKL

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.net.config["latent_channels"])

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) -> float32 (batch, channel, height/f, width/f).

        Raises ValueError unless height and width are multiples of ``factor``.
        """
        check_sides(pixels, self.factor)
        raw: torch.Tensor = self.net.encode(to_unit(pixels, self.net)).latent_dist.mode().float()
        return (raw - self.mean[:, None, None]) / self.std[:, None, None]

    @torch.no_grad()
    def render(self, latents: torch.Tensor) -> torch.Tensor:
        """``decode`` before rounding: float32 (batch, 3, h*f, w*f), about 0 to 255, not clamped."""
        raw = latents.float() * self.std[:, None, None] + self.mean[:, None, None]
        if self.net.post_quant_conv is not None:
            raw = self.net.post_quant_conv(raw)
        dtype = next(self.net.decoder.parameters()).dtype
        decoded: torch.Tensor = self.net.decoder(raw.to(dtype)).float()
        return (decoded + 1) * 127.5

    @classmethod
    def load(cls, folder: Path, mean: Sequence[float], std: Sequence[float]) -> KLCodec:
        """Read diffusers' folder of an AutoencoderKL. Raises ModelError where parts misfit."""
        net = read_network(AutoencoderKL, folder, "codec")
        if not len(mean) == len(std) == net.config["latent_channels"]:
            raise ModelError(
                f"the codec in {folder} has {net.config['latent_channels']} latent channels, but "
                f"{len(mean)} means and {len(std)} deviations are given"
            )
        statistics = torch.tensor([[*mean], [*std]], dtype=torch.float32)
        return cls(net, statistics[0], statistics[1])
