"""The blocks for decoding against those of diffusers."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from geodiff.models.codec import new_autoencoder
from geodiff.models.decoding_blocks import (
    ChannelNorm,
    ShuffledUp,
    SlimResidual,
    slim,
    with_decoding_blocks,
)

LAYERS = (0, 1, 1, 1)


def decoder_of(widths: Sequence[int], layers: Sequence[int] = LAYERS) -> nn.Module:
    """A decoder of diffusers in which no weight and no bias is a constant."""
    torch.manual_seed(0)
    net: nn.Module = new_autoencoder(4, tuple(widths), LAYERS, tuple(layers)).decoder
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-1, 1).add_(1)
    return net.eval().requires_grad_(False)


def norm_of(channels: int) -> nn.Module:
    norm: nn.Module = decoder_of((8, 8, 16, channels)).up_blocks[3][0].norm
    return norm


def features_of(channels: int, seed: int = 0) -> torch.Tensor:
    made = torch.randn(2, channels, 5, 7, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_the_norm_equals_the_one_that_it_stands_for(scale: float) -> None:
    norm = norm_of(64)
    features = scale * torch.randn(2, 5, 7, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ChannelNorm(norm)(features), norm(features))


@pytest.mark.parametrize("channels", [64, 512])
def test_the_norm_in_bf16_is_within_rounding_of_float32(channels: int) -> None:
    norm = norm_of(channels)
    features = torch.randn(2, 5, 7, channels, generator=torch.Generator().manual_seed(1)).bfloat16()
    exact = norm(features.float())
    quick = ChannelNorm(norm).to(torch.bfloat16)(features)
    assert quick.dtype == torch.bfloat16
    torch.testing.assert_close(quick.float(), exact, rtol=2**-6, atol=2**-5)


def test_a_residual_block_equals_the_one_that_it_stands_for_and_leaves_its_input() -> None:
    block = decoder_of((8, 8, 16, 32)).up_blocks[3][0]
    features = features_of(32)
    before = features.clone()
    torch.testing.assert_close(SlimResidual(block)(features), block(features))
    assert torch.equal(features, before)


@pytest.mark.parametrize("widths", [(32, 32), (16, 32), (8, 32), (32, 16)])
def test_an_upsampler_with_a_shortcut_equals_the_one_that_it_stands_for(
    widths: tuple[int, int],
) -> None:
    """Channels stay, halve, become a quarter (no repeats) and double."""
    block = decoder_of((8, 8, *widths)).up_blocks[2][0]
    assert block.shortcut
    assert block.repeats == 4 * widths[0] // widths[1]
    features = features_of(widths[1])
    torch.testing.assert_close(ShuffledUp(block)(features), block(features))


def test_the_last_upsampler_without_shortcut_equals_the_one_that_it_stands_for() -> None:
    block = decoder_of((8, 8, 16, 16)).conv_out
    assert not block.shortcut
    features = features_of(8)
    torch.testing.assert_close(ShuffledUp(block)(features), block(features))


@pytest.mark.parametrize("layers", [LAYERS, (1, 2, 2, 1)])
def test_a_whole_decoder_is_replaced_and_gives_the_same_pixels(layers: tuple[int, ...]) -> None:
    net = decoder_of((8, 8, 16, 32), layers)
    latents = features_of(4)
    exact = net(latents)
    with_decoding_blocks(net)
    left = {type(part).__name__ for part in net.modules()}
    assert not left & {"RMSNorm", "ResBlock", "DCUpBlock2d"}
    assert {"ChannelNorm", "SlimResidual", "ShuffledUp"} <= left
    torch.testing.assert_close(net(latents), exact, rtol=1e-5, atol=1e-5)


def test_features_stay_channels_last() -> None:
    net = decoder_of((8, 8, 16, 32)).to(memory_format=torch.channels_last)
    with_decoding_blocks(net)
    seen: list[bool] = []
    for part in net.modules():
        if isinstance(part, SlimResidual | ShuffledUp):
            part.register_forward_hook(
                lambda _, __, out: seen.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    net(features_of(4))
    assert len(seen) == 6
    assert all(seen)


def test_blocks_that_are_not_understood_stay() -> None:
    block = decoder_of((8, 8, 16, 16)).up_blocks[2][0]
    block.interpolate = True
    residual = decoder_of((8, 8, 16, 16)).up_blocks[3][0]
    residual.nonlinearity = nn.ReLU()
    other = decoder_of((8, 8, 16, 16)).up_blocks[3][0]
    other.norm = nn.BatchNorm2d(16)
    for kept in (block, residual, other, nn.Conv2d(3, 3, 1)):
        assert slim(kept) is kept
