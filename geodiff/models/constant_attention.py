"""Cross-attention to one token is a constant: computed once per window, not at every position.

A softmax over one key is 1 whatever the query, so such a layer adds ``W_o W_v c`` to every
position: neither the queries nor the keys matter, nor the norm before them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Addend(nn.Module):
    """Stands in for a cross-attention: hands out its stretch of the constants of all layers."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **unused: Any
    ) -> torch.Tensor:
        """(batch, 1, channel) of the constants (batch, 1, all layers), to be added everywhere."""
        return encoder_hidden_states[..., self.first : self.last].to(hidden_states.dtype)


class Constants(nn.Module):
    """What the cross-attentions of a network add, for one token a window."""

    def __init__(self, layers: list[nn.Sequential]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @torch.no_grad()
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """float32 (batch, 1, context) -> (batch, 1, channels of all layers)."""
        return torch.cat([layer(tokens) for layer in self.layers], dim=-1)


def fold_attention(net: nn.Module) -> Constants:
    """Take the cross-attentions out of a UNet2DConditionModel, which is changed in place.

    Afterwards the network takes the constants of the returned module where it took the one token.
    """
    layers: list[nn.Sequential] = []
    first = 0
    for block in net.modules():
        attention: Any = getattr(block, "attn2", None)
        if attention is None:
            continue
        layers.append(nn.Sequential(attention.to_v, attention.to_out[0]))
        last = first + attention.to_out[0].out_features
        block.attn2, block.norm2 = Addend(first, last), nn.Identity()
        first = last
    return Constants(layers)
