"""Pixels to latents and back by a vector-quantised autoencoder (diffusers' VQModel)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from geodiff.errors import ModelError
from geodiff.models.casting import cast
from geodiff.models.codec import check_sides, fingerprint_of, to_levels, to_unit
from geodiff.models.local_decoder import Margins
from geodiff.models.parts import read_network
from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import VQModel  # noqa: E402  (needs the shim first)

COMPARED = 2**25
"""Distances between latents and codes held in memory at once: 134 MB of them."""


@dataclass(frozen=True)
class CodecSizes:
    """Sizes of a vector-quantised autoencoder (Esser et al. 2021, arXiv:2012.09841)."""

    widths: tuple[int, ...]  # channels of each level, finest first
    blocks: int  # residual blocks of a level in the encoder; one more in the decoder
    attended: tuple[bool, ...]  # levels with attention; the middle always has some
    channels: int  # before quantisation
    codes: int
    code: int  # length of a code
    scale: float = 1.0  # denoisers see latents times this, for the configuration


def new_vq(sizes: CodecSizes) -> VQModel:
    """A fresh autoencoder of these sizes."""
    down = ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in sizes.attended]
    up = ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in sizes.attended]
    return VQModel(
        down_block_types=tuple(down),
        up_block_types=tuple(reversed(up)),
        block_out_channels=sizes.widths,
        layers_per_block=sizes.blocks,
        latent_channels=sizes.channels,
        num_vq_embeddings=sizes.codes,
        vq_embed_dim=sizes.code,
        scaling_factor=sizes.scale,
    )


@dataclass(frozen=True)
class VQCodec:
    """An autoencoder whose latents become the nearest vectors of its book before it decodes them.

    Latents handed out are ``(raw - mean) / std``, float32 (channel,) both: for a denoiser that was
    trained on raw latents times a factor, 0 and one over the factor.
    """

    net: VQModel
    mean: torch.Tensor
    std: torch.Tensor

    @property
    def factor(self) -> int:
        """Pixels per latent along each axis."""
        return int(2 ** (len(self.net.config["block_out_channels"]) - 1))

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.net.config["vq_embed_dim"] or self.net.config["latent_channels"])

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.net.parameters())

    @property
    def halo(self) -> int | None:
        """None: its attention and norms see the whole tile, so every pixel depends on all of it."""
        return None

    @property
    def fingerprint(self) -> str:
        """Short hash of the weights and statistics; latents of different ones do not mix."""
        return fingerprint_of(self.net, self.mean, self.std)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) -> float32 (batch, channel, height/f, width/f).

        Before quantisation, as denoisers are trained. Raises ValueError unless height and width are
        multiples of ``factor``.
        """
        check_sides(pixels, self.factor)
        raw: torch.Tensor = self.net.encode(to_unit(pixels, self.net), return_dict=False)[0].float()
        return (raw - self.mean[:, None, None]) / self.std[:, None, None]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """float32 (batch, channel, h, w) -> uint8 (batch, 3, h*f, w*f)."""
        return to_levels(self.render(latents))

    def decode_tile(self, latents: torch.Tensor, margins: Margins) -> torch.Tensor:
        """Raises ValueError: a tile of this codec is never the crop of the whole."""
        raise ValueError("a codec without halo cannot decode a tile exactly: blend windows")

    @torch.no_grad()
    def render(self, latents: torch.Tensor) -> torch.Tensor:
        """``decode`` before rounding: float32 (batch, 3, h*f, w*f), about 0 to 255, not clamped."""
        raw = latents.float() * self.std[:, None, None] + self.mean[:, None, None]
        ready = self.net.post_quant_conv(self.quantise(raw))
        dtype = next(self.net.decoder.parameters()).dtype
        decoded: torch.Tensor = self.net.decoder(ready.to(dtype)).float()
        return (decoded + 1) * 127.5

    def quantise(self, raw: torch.Tensor) -> torch.Tensor:
        """The nearest vectors of the book, float32 (batch, channel, h, w) like ``raw``.

        What the network's own quantiser does, a few latents at a time, so that memory does not grow
        with the image.
        """
        book = self.net.quantize.embedding.weight
        vectors = raw.movedim(1, -1).reshape(-1, raw.shape[1])
        parts = torch.split(vectors, max(COMPARED // len(book), 1))
        nearest = torch.cat([torch.cdist(part, book).argmin(1) for part in parts])
        shape = (raw.shape[0], *raw.shape[2:], raw.shape[1])
        found: torch.Tensor = book[nearest].reshape(shape).movedim(-1, 1)
        return found

    def to(self, device: torch.device) -> VQCodec:
        """The same codec with its network on ``device``, changed in place."""
        net = cast(self.net, device=device, channels_last=True)
        return replace(self, net=net, mean=self.mean.to(device), std=self.std.to(device))

    def with_decoder_in(self, dtype: torch.dtype) -> VQCodec:
        """The same codec, whose decoder is changed in place to ``dtype``; the book stays exact."""
        cast(self.net.decoder, dtype)
        return self

    @classmethod
    def load(cls, folder: Path, mean: Sequence[float], std: Sequence[float]) -> VQCodec:
        """Read diffusers' folder of a VQModel. Raises ModelError where parts misfit."""
        net = read_network(VQModel, folder, "codec")
        channels = net.config["vq_embed_dim"] or net.config["latent_channels"]
        if not len(mean) == len(std) == channels:
            raise ModelError(
                f"the codec in {folder} has {channels} latent channels, but its latents.json gives "
                f"{len(mean)} means and {len(std)} deviations"
            )
        if net.config["norm_type"] != "group":
            raise ModelError(f"the codec in {folder} has {net.config['norm_type']} norms: not run")
        statistics = torch.tensor([[*mean], [*std]], dtype=torch.float32)
        return cls(net, statistics[0], statistics[1])
