"""Pixels to latents and back: a local, convolutional autoencoder (diffusers' AutoencoderDC)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from geodiff.errors import ModelError, UsageError
from geodiff.models.casting import cast
from geodiff.models.decoding_blocks import with_decoding_blocks
from geodiff.models.local_decoder import Margins, decode_tile, reach
from geodiff.models.parts import half, read_network, write_network
from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import AutoencoderDC  # noqa: E402  (needs the shim first)


def new_autoencoder(
    channels: int = 4,
    widths: Sequence[int] = (16, 32, 128, 256),
    encoder_layers: Sequence[int] = (0, 1, 2, 3),
    decoder_layers: Sequence[int] = (0, 1, 2, 4),
) -> AutoencoderDC:
    """A fresh f8 autoencoder of residual blocks only: no attention, normalised over channels alone.

    ``widths`` are the channel counts at strides 1, 2, 4 and 8; neighbours must divide by powers of
    two (its space-to-depth shortcuts average groups of channels). Chen et al. 2024 (DC-AE). Raises
    UsageError unless there is one number of layers for each width, and a layer wherever the class
    changes the stride (it leaves a middle stride without layers out).
    """
    for layers in (encoder_layers, decoder_layers):
        if len(widths) < 2 or len(layers) != len(widths) or min((*layers[1:-1], 1)) < 1:
            raise UsageError(
                f"layers {tuple(layers)} do not fit the widths {tuple(widths)}: give one number "
                "for each width, at least 1 for all but the first and the last"
            )
    return AutoencoderDC(
        latent_channels=channels,
        encoder_block_out_channels=tuple(widths),
        decoder_block_out_channels=tuple(widths),
        encoder_layers_per_block=tuple(encoder_layers),
        decoder_layers_per_block=tuple(decoder_layers),
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_qkv_multiscales=((),) * len(widths),
        decoder_qkv_multiscales=((),) * len(widths),
        attention_head_dim=32,
    )


def decoder_halo(layers: Sequence[int]) -> int:
    """Receptive radius of the decoder in whole latents, rounded up; see ``local_decoder.reach``."""
    return int(np.ceil(reach(layers)))


@dataclass(frozen=True)
class Codec:
    """An autoencoder with standardised latents.

    ``mean`` and ``std`` are float32 (channel,) statistics of raw training latents; latents handed
    out have about zero mean and unit variance per channel.
    """

    net: AutoencoderDC
    mean: torch.Tensor
    std: torch.Tensor
    known: str | None = None  # the fingerprint, of a decoder that was changed for decoding

    @property
    def factor(self) -> int:
        """Pixels per latent along each axis."""
        return int(2 ** (len(self.net.config["encoder_block_out_channels"]) - 1))

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.net.config["latent_channels"])

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.net.parameters())

    @property
    def halo(self) -> int | None:
        """Latents around a tile that its decoded pixels depend on; with them a tile is exact.

        None where the decoder is not local (attention): then every pixel depends on the whole tile.
        """
        kinds = self.net.config["decoder_block_types"]
        if any(kind != "ResBlock" for kind in ([kinds] if isinstance(kinds, str) else kinds)):
            return None
        return decoder_halo(self.net.config["decoder_layers_per_block"])

    @property
    def fingerprint(self) -> str:
        """Short hash of the weights and statistics; latents of different ones do not mix."""
        return self.known or fingerprint_of(self.net, self.mean, self.std)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) -> float32 (batch, channel, height/f, width/f).

        Height and width must be multiples of ``factor``; raises ValueError otherwise.
        """
        check_sides(pixels, self.factor)
        raw: torch.Tensor = self.net.encode(to_unit(pixels, self.net), return_dict=False)[0].float()
        return (raw - self.mean[:, None, None]) / self.std[:, None, None]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """float32 (batch, channel, h, w) -> uint8 (batch, 3, h*f, w*f)."""
        return to_levels(self.render(latents))

    @torch.no_grad()
    def decode_tile(self, latents: torch.Tensor, margins: Margins) -> torch.Tensor:
        """What ``decode`` gives inside ``margins``: latents above, below, left and right of a tile.

        A margin is the ``halo``, or less where the canvas ends: then the pixels are those of the
        whole canvas but for the order of summation. Raises ValueError for a codec without halo and
        where nothing is left inside the margins.
        """
        layers = self.net.config["decoder_layers_per_block"]
        top, bottom, left, right = margins
        height, width = latents.shape[-2] - top - bottom, latents.shape[-1] - left - right
        if self.halo is None or min(height, width) < 1:
            raise ValueError(
                f"latents of {tuple(latents.shape[-2:])} with margins {margins} are no tile of a "
                f"codec with halo {self.halo}"
            )
        decoded = decode_tile(self.net.decoder, layers, self._raw(latents), margins).float()
        return to_levels((decoded + 1) * 127.5)

    @torch.no_grad()
    def render(self, latents: torch.Tensor) -> torch.Tensor:
        """``decode`` before rounding: float32 (batch, 3, h*f, w*f), about 0 to 255, not clamped."""
        decoded: torch.Tensor = self.net.decode(self._raw(latents), return_dict=False)[0].float()
        return (decoded + 1) * 127.5

    def _raw(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the network made them, in the decoder's precision."""
        raw = latents * self.std[:, None, None] + self.mean[:, None, None]
        return raw.to(next(self.net.decoder.parameters()).dtype)

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Codec:
        """The same codec with its network on ``device`` in ``dtype``."""
        net = cast(self.net, dtype, device, channels_last=True)
        return replace(self, net=net, mean=self.mean.to(device), std=self.std.to(device))

    def with_decoder_in(self, dtype: torch.dtype) -> Codec:
        """The same codec, whose decoder is changed in place to ``dtype``; it no longer trains.

        In bfloat16 it takes far less time where the processor has that type, and pixels
        differ by one of 255 levels at most.
        """
        known = self.fingerprint
        cast(self.net.decoder, dtype)
        with_decoding_blocks(self.net.decoder)
        return replace(self, known=known)

    def save(self, folder: Path) -> None:
        """Write diffusers' layout (config.json and safetensors, half precision) into ``folder``."""
        write_network(self.net, folder)

    @classmethod
    def load(cls, folder: Path, mean: Sequence[float], std: Sequence[float]) -> Codec:
        """Read what :meth:`save` wrote. Raises ModelError where parts are missing or misfit."""
        net = read_network(AutoencoderDC, folder, "codec")
        if not len(mean) == len(std) == net.config["latent_channels"]:
            raise ModelError(
                f"the codec in {folder} has {net.config['latent_channels']} latent channels, "
                f"but its latents.json gives {len(mean)} means and {len(std)} deviations"
            )
        statistics = torch.tensor([[*mean], [*std]], dtype=torch.float32)
        return cls(net, statistics[0], statistics[1])


def fingerprint_of(net: torch.nn.Module, mean: torch.Tensor, std: torch.Tensor) -> str:
    """16 hex digits of a SHA-256 over weights in half precision and statistics (channel,)."""
    digest = hashlib.sha256()
    for name, value in sorted(half(net).items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    digest.update(torch.stack([mean, std]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_sides(pixels: torch.Tensor, factor: int) -> None:
    """Raises ValueError unless height and width are multiples of ``factor``."""
    if pixels.shape[-2] % factor or pixels.shape[-1] % factor:
        raise ValueError(
            f"pixels of {tuple(pixels.shape[-2:])} do not divide by the factor {factor}"
        )


def to_levels(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels of about 0 to 255, rounded to uint8."""
    return pixels.round().clamp(0, 255).to(torch.uint8)


def to_unit(pixels: torch.Tensor, net: torch.nn.Module) -> torch.Tensor:
    """uint8 pixels to -1..1 in the precision and on the device of ``net``."""
    first = next(net.parameters())
    return pixels.to(device=first.device, dtype=first.dtype) / 127.5 - 1
