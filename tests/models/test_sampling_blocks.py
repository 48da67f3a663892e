"""The blocks for sampling against those of diffusers that they stand for."""

import copy

import pytest
import torch
from torch import nn

from geodiff.models.denoiser import Denoiser, FieldUNet
from geodiff.models.sampling_blocks import (
    SamplingAttention,
    SamplingResnet,
    group_norm,
    with_sampling_blocks,
)


def random_net(**options: object) -> FieldUNet:
    """A small network in which no weight is zero or one, as after training."""
    net: FieldUNet = FieldUNet(channels=3, dim=8, widths=(32, 64), layers=1, **options).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return net.to(memory_format=torch.channels_last)


def windows(n: int, side: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, side, side, generator=generator)
    field = torch.randn(n, 8, side, side, generator=generator)
    time, gsd = torch.linspace(0.1, 0.9, n), torch.linspace(0.3, 1, n)
    return x, time, nn.functional.normalize(field, dim=1), gsd, torch.ones(n, dtype=torch.bool)


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("mean", [0.0, 3.0])
@torch.no_grad()
def test_the_norm_equals_that_of_torch_with_scale_and_shift(side: int, mean: float) -> None:
    generator = torch.Generator().manual_seed(2)
    norm = nn.GroupNorm(4, 16, eps=1e-5)
    nn.init.uniform_(norm.weight, 0.5, 2, generator)
    nn.init.uniform_(norm.bias, -1, 1, generator)
    x = mean + torch.randn(2, 16, side, side, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    gain, offset = torch.randn(2, 2, 16, generator=generator)
    scaled = norm(x) * gain[:, :, None, None] + offset[:, :, None, None]
    torch.testing.assert_close(group_norm(x, norm, gain, offset), scaled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(group_norm(x, norm), norm(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_norm_of_features_without_variance_is_its_bias() -> None:
    norm = nn.GroupNorm(4, 16)
    nn.init.constant_(norm.bias, 0.25)
    x = torch.full((1, 16, 4, 4), 7.3).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(group_norm(x, norm), torch.full_like(x, 0.25), rtol=0, atol=1e-2)


@pytest.mark.parametrize("side", [8, 32])
@torch.no_grad()
def test_the_network_gives_what_that_of_diffusers_gives(side: int) -> None:
    net = random_net(guidance=(1.0, 8.0))
    quick = copy.deepcopy(net)
    with_sampling_blocks(quick)
    inputs = (*windows(3, side), torch.tensor([1.0, 2.0, 8.0]))
    torch.testing.assert_close(quick(*inputs), net(*inputs), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_in_bf16_it_is_as_near_to_float32_as_diffusers() -> None:
    net = random_net()
    x, time, field, gsd, _ = windows(4, 16)
    exact = Denoiser(net, bf16=False).velocity(x, time, field, float(gsd[0]))
    slow = Denoiser(copy.deepcopy(net)).velocity(x, time, field, float(gsd[0]))
    quick = Denoiser(copy.deepcopy(net)).to(torch.device("cpu"))
    errors = [
        (found - exact).square().mean().sqrt()
        for found in (quick.velocity(x, time, field, float(gsd[0])), slow)
    ]
    assert 0 < errors[0] < 1.25 * errors[1] < 0.05 * exact.square().mean().sqrt()


@torch.no_grad()
def test_a_window_does_not_depend_on_those_beside_it() -> None:
    denoiser = Denoiser(random_net()).to(torch.device("cpu"))
    x, time, field, _, _ = windows(4, 16)
    whole = denoiser.velocity(x, time, field, 0.6)
    half = denoiser.velocity(x[2:], time[2:], field[2:], 0.6)
    assert torch.equal(whole[2:], half)


def test_every_block_is_replaced_and_its_weights_keep_their_names() -> None:
    net = random_net()
    names = {name: value.clone() for name, value in net.state_dict().items()}
    before = [type(part).__name__ for part in net.modules()]
    with_sampling_blocks(net)
    kinds = [type(part) for part in net.modules()]
    assert kinds.count(SamplingResnet) == before.count("ResnetBlock2D") > 0
    assert kinds.count(SamplingAttention) == before.count("Attention") > 0
    after = net.state_dict()
    assert set(after) == set(names)
    assert all(torch.equal(after[name], value) for name, value in names.items())
