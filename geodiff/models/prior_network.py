"""The prior's network: a small transformer over the cells of a window."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import ConfigMixin, ModelMixin  # noqa: E402  (needs the shim first)
from diffusers.configuration_utils import register_to_config  # noqa: E402

REFERENCE_GSD = 0.6
"""Metres per pixel at which the pixel-size input is zero."""

WAVES = 64
"""Sines and cosines that tell the time of the flow."""


class CellTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Velocity of a rectified flow over whitened embeddings of ``window`` x ``window`` cells.

    Time, pixel size and the turn of the image scale and shift the norms of every block and gate its
    branches (Peebles and Xie 2023, arXiv:2212.09748); what a cell should show is added to its token
    before every block. A learned vector stands for "no text", label 0 for "no label". Turned images
    (see ``datasets.dataset.orient``) teach as well, but their light falls from elsewhere: turn 0 is
    upright, with shadows as they are on the ground.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        dim: int = 64,
        window: int = 4,
        text_dim: int = 384,
        labels: int = 0,
        width: int = 160,
        depth: int = 6,
        heads: int = 5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(window, window, width))
        self.clock = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.scale = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, width))
        self.turn = nn.Embedding(8, width)
        self.text = nn.Linear(max(1, text_dim), width)
        self.no_text = nn.Parameter(torch.zeros(width))
        self.label = nn.Embedding(labels + 1, width)
        self.wish = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.tune = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, dim)
        for last in (self.scale[-1], self.turn, self.tune, self.leave):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        gsd: torch.Tensor,
        text: torch.Tensor | None = None,
        told: torch.Tensor | None = None,
        label: torch.Tensor | None = None,
        group: torch.Tensor | None = None,
        turn: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Velocity noise - clean, (batch, dim, row, col).

        ``noisy`` (batch, dim, row, col), rows and columns those of the window; ``time`` (batch,) in
        0..1; ``gsd`` (batch,) in metres per pixel; ``text`` (batch, row, col, text_dim) of unit
        vectors, counted where ``told`` (batch, row, col) is True; ``label`` (batch, row, col) whole
        numbers, 0 for none. Cells see only those with the same number in ``group`` (batch, row,
        col); None: all see all. ``turn`` (batch,) is 0..7; None: upright.
        """
        n, _, rows, cols = noisy.shape
        tokens = self.enter(noisy.permute(0, 2, 3, 1)) + self.place
        size = torch.log2(gsd.float() / REFERENCE_GSD)[:, None]
        turned = self.turn(torch.zeros(n, dtype=torch.long) if turn is None else turn)
        pace = functional.silu(self.clock(waves(time).to(tokens.dtype)) + self.scale(size) + turned)
        wish = self.wish(self.asked(n, rows, cols, text, told, label)).flatten(1, 2)
        mask = None
        if group is not None:
            flat = group.flatten(1)
            mask = (flat[:, :, None] == flat[:, None, :])[:, None]
        tokens = tokens.flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens, pace, wish, mask)
        scale, shift = self.tune(pace)[:, None].chunk(2, -1)
        tokens = functional.layer_norm(tokens, tokens.shape[-1:]) * (1 + scale) + shift
        velocity: torch.Tensor = self.leave(tokens).transpose(1, 2).unflatten(2, (rows, cols))
        return velocity

    def asked(
        self,
        n: int,
        rows: int,
        cols: int,
        text: torch.Tensor | None,
        told: torch.Tensor | None,
        label: torch.Tensor | None,
    ) -> torch.Tensor:
        """What each cell should show, (batch, row, col, width)."""
        wish = self.no_text.expand(n, rows, cols, -1)
        if text is not None and told is not None:
            # Times sqrt(text_dim), so that entries of a unit vector have about unit variance.
            known = self.text(text * text.shape[-1] ** 0.5)
            wish = torch.where(told[..., None], known, wish)
        if label is None:
            label = torch.zeros(n, rows, cols, dtype=torch.long, device=wish.device)
        total: torch.Tensor = wish + self.label(label)
        return total


class Block(nn.Module):
    """Attention between cells and a step of its own for each cell, both gated."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.tune = nn.Linear(width, 6 * width)
        self.inject = nn.Linear(width, width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        for last in (self.tune, self.inject):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self,
        tokens: torch.Tensor,
        pace: torch.Tensor,
        wish: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Tokens (batch, cell, width) after the block."""
        scale, shift, gate, *second = self.tune(pace)[:, None].chunk(6, -1)
        tokens = tokens + self.inject(wish)
        inner = functional.layer_norm(tokens, tokens.shape[-1:]) * (1 + scale) + shift
        q, k, v = self.mix(inner).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        tokens = tokens + gate * self.out(seen.transpose(1, 2).flatten(2))
        scale, shift, gate = second
        inner = functional.layer_norm(tokens, tokens.shape[-1:]) * (1 + scale) + shift
        result: torch.Tensor = tokens + gate * self.think(inner)
        return result


def waves(time: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of a time in 0..1, float32 (batch, WAVES)."""
    half = WAVES // 2
    steps = torch.arange(half, device=time.device) / half
    angles = 1000 * time.float()[:, None] * torch.exp(-math.log(10_000.0) * steps)
    return torch.cat([angles.cos(), angles.sin()], 1)
