"""The norm for decoding against that of diffusers."""

import pytest
import torch
from torch import nn

from geodiff.models.channel_norm import ChannelNorm, with_channel_norms
from geodiff.models.codec import new_autoencoder


def norm_of(channels: int) -> nn.Module:
    decoder = new_autoencoder(4, (8, 8, 16, channels), (0, 1, 1, 1), (0, 1, 1, 1)).decoder
    norm: nn.Module = decoder.up_blocks[3][0].norm
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, channels))
        norm.bias.copy_(torch.linspace(-1, 1, channels))
    return norm


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_it_equals_the_norm_that_it_stands_for(scale: float) -> None:
    norm = norm_of(64)
    features = scale * torch.randn(2, 5, 7, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ChannelNorm(norm)(features), norm(features))


def test_in_bf16_it_is_within_rounding_of_float32() -> None:
    norm = norm_of(64)
    features = torch.randn(2, 5, 7, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.no_grad():
        exact = norm(features.float())
        quick = ChannelNorm(norm).to(torch.bfloat16)(features)
    assert quick.dtype == torch.bfloat16
    torch.testing.assert_close(quick.float(), exact, rtol=2**-6, atol=2**-6)


def test_every_norm_of_a_network_is_replaced_and_its_weights_keep_their_names() -> None:
    net = new_autoencoder(4, (8, 8, 16, 16), (0, 1, 1, 1), (0, 1, 1, 1)).decoder
    names = set(net.state_dict())
    before = sum(type(part).__name__ == "RMSNorm" for part in net.modules())
    with_channel_norms(net)
    assert before == sum(isinstance(part, ChannelNorm) for part in net.modules()) > 0
    assert set(net.state_dict()) == names
