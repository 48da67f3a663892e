from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geodiff.diffusion.loss import flow_matching_loss


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 2, 4, 5, generator=generator)
    return clean, noise


def test_true_velocity_has_no_loss_and_others_their_squared_error(
    pair: tuple[Tensor, Tensor],
) -> None:
    clean, noise = pair
    times = torch.tensor([0.1, 0.5, 0.9])
    truth = noise - clean
    assert flow_matching_loss(lambda x, t: truth, clean, noise, times) == 0
    loss = flow_matching_loss(lambda x, t: truth + 0.5, clean, noise, times)
    torch.testing.assert_close(loss, torch.tensor(0.25))


def test_network_sees_the_mixture_at_its_time(pair: tuple[Tensor, Tensor]) -> None:
    clean, noise = pair
    times = torch.tensor([0.0, 1.0, 0.25])
    seen: list[Tensor] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        seen.extend([x, t])
        return x

    flow_matching_loss(velocity, clean, noise, times)
    x, t = seen
    assert torch.equal(t, times)
    torch.testing.assert_close(x[0], clean[0])
    torch.testing.assert_close(x[1], noise[1])
    torch.testing.assert_close(x[2], 0.75 * clean[2] + 0.25 * noise[2])


def test_best_constant_is_the_mean_velocity(pair: tuple[Tensor, Tensor]) -> None:
    clean, noise = pair
    constant = torch.zeros((), requires_grad=True)
    loss = flow_matching_loss(
        lambda x, t: constant * torch.ones_like(x), clean, noise, torch.rand(3)
    )
    (gradient,) = torch.autograd.grad(loss, constant)
    torch.testing.assert_close(gradient, -2 * (noise - clean).mean())


def test_weights_leave_masked_cells_out(pair: tuple[Tensor, Tensor]) -> None:
    clean, noise = pair
    times = torch.full((3,), 0.5)
    mask = torch.ones(3, 1, 4, 5)
    mask[:, :, 2:] = 0
    wrong = noise - clean + torch.arange(1.0, 5.0)[:, None]
    loss = flow_matching_loss(lambda x, t: wrong, clean, noise, times, mask)
    torch.testing.assert_close(loss, torch.tensor((1.0 + 4.0) / 2))
    assert flow_matching_loss(lambda x, t: wrong, clean, noise, times, 0 * mask) == 0


def test_equal_weights_change_nothing(pair: tuple[Tensor, Tensor]) -> None:
    clean, noise = pair
    times = torch.full((3,), 0.5)
    plain = flow_matching_loss(lambda x, t: x, clean, noise, times)
    weighted = flow_matching_loss(lambda x, t: x, clean, noise, times, torch.full((1,), 3.0))
    torch.testing.assert_close(plain, weighted)


def test_half_precision_networks_are_reduced_in_single(pair: tuple[Tensor, Tensor]) -> None:
    clean, noise = pair
    loss = flow_matching_loss(lambda x, t: x.bfloat16(), clean, noise, torch.rand(3))
    assert loss.dtype == torch.float32


def test_refuses_times_that_do_not_fit_the_batch(pair: tuple[Tensor, Tensor]) -> None:
    clean, noise = pair
    with pytest.raises(ValueError, match=r"times \(1,\) one value for each of their 3 images"):
        flow_matching_loss(lambda x, t: x, clean, noise, torch.rand(1))
