"""Root mean square normalisation over channels in fewer passes over memory, for decoding."""

from __future__ import annotations

import torch
from torch import nn

from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers.models.normalization import RMSNorm  # noqa: E402  (needs the shim first)


class ChannelNorm(nn.Module):
    """``RMSNorm`` of diffusers (Zhang and Sennrich 2019, arXiv:1910.07467), for features in bf16.

    diffusers writes a float32 copy of the features and reads it four times. This one sums in
    float32 as it reads and writes once. Shares the parameters of the norm that it stands for.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.eps = float(norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (..., channel) in their own precision."""
        length = torch.linalg.vector_norm(features, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.rsqrt(length.square() / features.shape[-1] + self.eps).to(features.dtype)
        return torch.addcmul(self.bias, features, self.weight * scale)


def with_channel_norms(net: nn.Module) -> None:
    """Replace, in place, every norm over channels that has a weight and a bias."""
    for name, child in net.named_children():
        if isinstance(child, RMSNorm) and child.weight is not None and child.bias is not None:
            setattr(net, name, ChannelNorm(child))
        else:
            with_channel_norms(child)
