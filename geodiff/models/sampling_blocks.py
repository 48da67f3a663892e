"""The UNet's residual and attention blocks in fewer passes over memory, for sampling on a CPU."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from geodiff.models.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers.models.attention_processor import Attention  # noqa: E402  (needs the shim first)
from diffusers.models.resnet import ResnetBlock2D  # noqa: E402

NATIVE = 1024
"""Places from which torch's group norm of channels-last features has a fast kernel of its own."""


def group_norm(
    x: torch.Tensor,
    norm: nn.GroupNorm,
    gain: torch.Tensor | None = None,
    offset: torch.Tensor | None = None,
) -> torch.Tensor:
    """``norm(x) * gain + offset`` in one pass after the sums (Wu and He 2018, arXiv:1803.08494).

    ``x`` is (batch, channel, row, col) in channels-last memory, ``gain`` and ``offset`` are
    (batch, channel). Sums are in float32. A sample's result does not depend on the others.
    """
    n, channels, rows, cols = x.shape
    places, groups = rows * cols, norm.num_groups
    weight, bias = norm.weight.float().expand(n, channels), norm.bias.float().expand(n, channels)
    if gain is not None and offset is not None:
        weight, bias = weight * gain.float(), torch.addcmul(offset.float(), bias, gain.float())
    if places >= NATIVE:
        if gain is None:
            return functional.group_norm(
                x, groups, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps
            )
        x = functional.group_norm(x, groups, eps=norm.eps)
        flat = x.permute(0, 2, 3, 1).reshape(n, places, channels)
    else:
        flat = x.permute(0, 2, 3, 1).reshape(n, places, channels)
        size = places * channels // groups
        mean, square = (
            each.sum(1, dtype=torch.float32).view(n, groups, -1).sum(2, keepdim=True) / size
            for each in (flat, flat * flat)
        )
        deviation = torch.rsqrt((square - mean * mean).clamp_(min=0) + norm.eps)
        scale = weight.reshape(n, groups, -1) * deviation
        bias = (bias.reshape(n, groups, -1) - scale * mean).view(n, channels)
        weight = scale.view(n, channels)
    out = torch.addcmul(bias[:, None].to(x.dtype), flat, weight[:, None].to(x.dtype))
    return out.view(n, rows, cols, channels).permute(0, 3, 1, 2)


class SamplingResnet(nn.Module):
    """``ResnetBlock2D`` of diffusers with a time embedding that scales and shifts.

    The second norm, its scale and its shift are one pass; the sum with the input is made in place
    and is not divided by one. Shares the parameters of the block that it stands for, by its names.
    """

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.time_emb_proj = block.time_emb_proj
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.conv_shortcut = block.conv_shortcut

    def forward(self, features: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        """Features (batch, channel, row, col) under a time embedding (batch, dim)."""
        hidden = self.conv1(functional.silu(group_norm(features, self.norm1), inplace=True))
        gain, offset = self.time_emb_proj(functional.silu(temb)).chunk(2, dim=1)
        hidden = group_norm(hidden, self.norm2, 1 + gain, offset)
        hidden = self.conv2(functional.silu(hidden, inplace=True))
        if self.conv_shortcut is not None:
            features = self.conv_shortcut(features)
        total: torch.Tensor = hidden.add_(features)
        return total


class SamplingAttention(nn.Module):
    """``Attention`` of diffusers over the places of features, which stay channels last.

    diffusers hands transposed features to its products, for which torch copies the weights once a
    sample. Shares the parameters of the block that it stands for, by its names.
    """

    def __init__(self, block: Attention) -> None:
        super().__init__()
        self.heads = int(block.heads)
        self.group_norm = block.group_norm
        self.to_q, self.to_k, self.to_v = block.to_q, block.to_k, block.to_v
        self.to_out = block.to_out

    def forward(self, features: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        """Features (batch, channel, row, col); ``temb`` is not used, as in diffusers."""
        n, channels, rows, cols = features.shape
        normed = features if self.group_norm is None else group_norm(features, self.group_norm)
        tokens = normed.permute(0, 2, 3, 1).reshape(n, rows * cols, channels)
        query, key, value = (
            project(tokens).view(n, rows * cols, self.heads, -1).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = self.to_out[0](mixed.transpose(1, 2).reshape(n, rows * cols, channels))
        total: torch.Tensor = features + mixed.view(n, rows, cols, channels).permute(0, 3, 1, 2)
        return total


def with_sampling_blocks(net: nn.Module) -> None:
    """Replace, in place, the blocks of a UNet that have a faster form with the same parameters."""
    for name, child in net.named_children():
        if isinstance(child, ResnetBlock2D) and _plain_resnet(child):
            setattr(net, name, SamplingResnet(child))
        elif isinstance(child, Attention) and _plain_attention(child):
            setattr(net, name, SamplingAttention(child))
        else:
            with_sampling_blocks(child)


def _plain_resnet(block: ResnetBlock2D) -> bool:
    return (
        block.time_embedding_norm == "scale_shift"
        and block.time_emb_proj is not None
        and block.upsample is None
        and block.downsample is None
        and not block.skip_time_act
        and isinstance(block.nonlinearity, nn.SiLU)
        and block.output_scale_factor == 1
    )


def _plain_attention(block: Attention) -> bool:
    return (
        block.residual_connection
        and block.spatial_norm is None
        and block.norm_q is None
        and block.norm_k is None
        and block.rescale_output_factor == 1
    )
