"""What the engine asks of a codec and of a denoiser, whatever network is behind them."""

from __future__ import annotations

from typing import Protocol

import torch

from geodiff.models.local_decoder import Margins


class LatentCodec(Protocol):
    """Pixels to latents and back; latents handed out are those that the denoiser was trained on."""

    @property
    def factor(self) -> int:
        """Pixels per latent along each axis."""

    @property
    def channels(self) -> int:
        """Latent channels."""

    @property
    def halo(self) -> int | None:
        """Latents around a tile that its pixels depend on; with them a tile is exact.

        None where every pixel depends on the whole tile (attention, norms over the image): such a
        codec is decoded in windows that are blended.
        """

    @property
    def fingerprint(self) -> str:
        """Short hash of the weights and statistics; latents of different ones do not mix."""

    @property
    def parameters(self) -> int:
        """Number of weights."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (batch, 3, height, width) -> float32 (batch, channel, height/f, width/f).

        Raises ValueError unless height and width are multiples of ``factor``.
        """

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """float32 (batch, channel, h, w) -> uint8 (batch, 3, h*f, w*f)."""

    def decode_tile(self, latents: torch.Tensor, margins: Margins) -> torch.Tensor:
        """What ``decode`` gives inside ``margins``; raises ValueError for a codec without halo."""

    def render(self, latents: torch.Tensor) -> torch.Tensor:
        """``decode`` before rounding: float32 (batch, 3, h*f, w*f), about 0 to 255, not clamped."""

    def to(self, device: torch.device) -> LatentCodec:
        """The same codec on ``device``."""

    def with_decoder_in(self, dtype: torch.dtype) -> LatentCodec:
        """The same codec, which decodes in ``dtype`` (float32 or bfloat16) if it can."""


class WindowDenoiser(Protocol):
    """A network that predicts clean windows under a field of embeddings."""

    @property
    def channels(self) -> int:
        """Latent channels."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    @property
    def multiple(self) -> int:
        """Sides of a window must be multiples of so many latents."""

    @property
    def sigma_max(self) -> float:
        """The highest noise level that the network knows; sampling starts there."""

    @property
    def parameters(self) -> int:
        """Number of weights."""

    @property
    def bf16(self) -> bool:
        """Whether products are made in bfloat16."""

    @property
    def device(self) -> torch.device:
        """Where the network runs."""

    @property
    def taught(self) -> tuple[float, float] | None:
        """Lowest and highest scale of guidance that the network knows; None: it knows none."""

    def knows(self, guidance: float) -> bool:
        """Whether the network was taught this scale of guidance: one call gives what two would."""

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
        vectors, one for each latent, or None for the unconditional prediction. A network of one
        vector a window takes that in the middle of its field. ``gsd`` is in metres per pixel.
        ``guidance`` other than 1 is for a network that knows it. The answer lies on x's device.
        """

    def to(self, device: torch.device) -> WindowDenoiser:
        """The same denoiser on ``device``, for sampling only."""
