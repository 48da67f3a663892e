"""Blocks of a decoder that write their features once, channels last, for decoding on a CPU."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers.models.autoencoders.autoencoder_dc import (  # noqa: E402  (needs the shim first)
    DCUpBlock2d,
    ResBlock,
)
from diffusers.models.normalization import RMSNorm  # noqa: E402


class ChannelNorm(nn.Module):
    """``RMSNorm`` of diffusers (Zhang and Sennrich 2019, arXiv:1910.07467), for features in bf16.

    diffusers writes a float32 copy of the features and reads it four times. This one sums as it
    reads (torch sums bfloat16 in float32 and rounds the sum) and writes once. Shares the parameters
    of the norm that it stands for.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.eps = float(norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (..., channel) in their own precision."""
        return torch.addcmul(self.bias, features, self.factor(features))

    def factor(self, features: torch.Tensor) -> torch.Tensor:
        """What every feature is multiplied by, (..., channel)."""
        length = torch.linalg.vector_norm(features, dim=-1, keepdim=True).float()
        scale = torch.rsqrt(length.square() / features.shape[-1] + self.eps).to(features.dtype)
        factor: torch.Tensor = self.weight * scale
        return factor


class SlimResidual(nn.Module):
    """``ResBlock`` of diffusers whose activation, norm and sum work in place.

    Shares the parameters of the block that it stands for, which has a SiLU and a ``RMSNorm``.
    """

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.conv1, self.conv2, self.norm = block.conv1, block.conv2, ChannelNorm(block.norm)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channel, row, col) to the same shape."""
        change = self.conv2(F.silu(self.conv1(features), inplace=True)).permute(0, 2, 3, 1)
        out = torch.addcmul(features.permute(0, 2, 3, 1), change, self.norm.factor(change))
        return out.add_(self.norm.bias).permute(0, 3, 1, 2)


class ShuffledUp(nn.Module):
    """``DCUpBlock2d`` of diffusers that shuffles (Shi et al. 2016, arXiv:1609.05158), in one copy.

    The shortcut of that block repeats every channel and shuffles it as the convolution's output is
    shuffled: a convolution with one in its middle, which is added to the weights here. Output
    channels are put in the order (row, col, channel) of the shuffled pixels, so that those of a
    pixel lie beside each other. In bfloat16 the weights are rounded with the shortcut in them.
    """

    def __init__(self, block: DCUpBlock2d) -> None:
        super().__init__()
        self.factor = int(block.factor)
        kernel = block.conv.weight.detach().float().clone()
        channels = len(kernel)
        if block.shortcut:
            out = torch.arange(channels)
            kernel[out, out // block.repeats, 1, 1] += 1
        order = torch.arange(channels).view(-1, self.factor, self.factor).permute(1, 2, 0).flatten()
        kernel = kernel[order].to(block.conv.weight.dtype)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(kernel, requires_grad=False)
        self.bias = nn.Parameter(block.conv.bias.detach()[order], requires_grad=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channel, row, col) to rows and columns times ``factor``."""
        wide = F.conv2d(features, self.weight, self.bias, padding=1).permute(0, 2, 3, 1)
        batch, rows, cols, channels = wide.shape
        s, left = self.factor, channels // self.factor**2
        out = wide.new_empty(batch, rows * s, cols * s, left)
        places = out.view(batch, rows, s, cols, s, left).transpose(2, 3)
        places.copy_(wide.view(batch, rows, cols, s, s, left))
        return out.permute(0, 3, 1, 2)


def with_decoding_blocks(net: nn.Module) -> None:
    """Replace, in place, the blocks of an ``AutoencoderDC``'s decoder that these stand for.

    What is left: blocks of other kinds (attention), with other norms or activations, and
    upsamplers that interpolate. The decoder no longer trains.
    """
    for name, child in net.named_children():
        setattr(net, name, slim(child))
        if getattr(net, name) is child:
            with_decoding_blocks(child)


def slim(block: nn.Module) -> nn.Module:
    """The leaner block that stands for a block, or the block itself."""
    if isinstance(block, RMSNorm) and block.weight is not None and block.bias is not None:
        return ChannelNorm(block)
    if isinstance(block, ResBlock) and isinstance(block.nonlinearity, nn.SiLU):
        plain = isinstance(block.norm, RMSNorm) and block.norm.weight is not None
        return SlimResidual(block) if plain and block.norm.bias is not None else block
    if isinstance(block, DCUpBlock2d) and not block.interpolate:
        return ShuffledUp(block)
    return block
