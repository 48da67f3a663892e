"""A transformer over the embeddings of a window and the scale that they are seen at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from geodiff.models.conditioner import ConditionerSizes


class Layer(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a shortcut."""

    def __init__(self, hidden: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(hidden, eps=1e-6)
        # The second linear layer is number 3 in checkpoints: dropout stood before it.
        self.mlp = nn.Sequential(
            nn.Linear(hidden, mlp), nn.GELU(), nn.Identity(), nn.Linear(mlp, hidden)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, token, hidden) -> the same shape."""
        seen = self.ln_1(x)
        x = x + self.self_attention(seen, seen, seen, need_weights=False)[0]
        made: torch.Tensor = x + self.mlp(self.ln_2(x))
        return made


class Encoder(nn.Module):
    """Layers between learned positions and a norm."""

    def __init__(self, tokens: int, layers: int, heads: int, hidden: int, mlp: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, tokens, hidden))
        self.layers = nn.ModuleDict(
            {f"encoder_layer_{i}": Layer(hidden, heads, mlp) for i in range(layers)}
        )
        self.ln = nn.LayerNorm(hidden, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, token, hidden) -> the same shape."""
        x = x + self.pos_embedding
        for layer in self.layers.values():
            x = layer(x)
        made: torch.Tensor = self.ln(x)
        return made


class Summarizer(nn.Module):
    """Tokens of up to ``sizes.cells`` embeddings and of their scale, of ZoomLDM.

    Yellapragada et al. 2025 (arXiv:2411.16969). Fewer embeddings stand in the middle of the row,
    the rest of it is a learned filling. Its layers bear the names that its checkpoints have.
    """

    def __init__(self, sizes: ConditionerSizes) -> None:
        super().__init__()
        self.level = sizes.level
        self.mag_embedding = nn.Embedding(sizes.levels, sizes.hidden)
        self.dim_reduce = nn.Linear(sizes.dim, sizes.hidden)
        self.pad_token = nn.Parameter(torch.zeros(1, 1, sizes.hidden))
        self.encoder = Encoder(sizes.cells + 1, sizes.layers, sizes.heads, sizes.hidden, sizes.mlp)
        self.final_proj = nn.Linear(sizes.hidden, sizes.width)
        if sizes.final_norm:
            self.layer_norm = nn.LayerNorm(sizes.width)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, n, dim), rows first -> tokens (batch, cells + 1, width)."""
        batch, count, _ = grid.shape
        cells = self.encoder.pos_embedding.shape[1] - 1
        first = cells // 2 - count // 2
        row = self.pad_token.repeat(batch, cells, 1)
        row[:, first : first + count] = self.dim_reduce(grid)
        scale = self.mag_embedding.weight[self.level].expand(batch, 1, -1)
        tokens: torch.Tensor = self.final_proj(self.encoder(torch.cat([scale, row], dim=1)))
        return self.layer_norm(tokens) if hasattr(self, "layer_norm") else tokens

    def null(self) -> torch.Tensor:
        """The tokens that stand for no embedding, (1, cells + 1, width): zeros."""
        tokens = self.encoder.pos_embedding.shape[1]
        return self.final_proj.weight.new_zeros(1, tokens, self.final_proj.out_features)
