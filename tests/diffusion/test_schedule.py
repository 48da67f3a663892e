from __future__ import annotations

import pytest
import torch

from geodiff.diffusion.schedule import flow_sigmas, published, sample_times


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_schedule_decreases_to_zero(shift: float) -> None:
    sigmas = flow_sigmas(12, shift)
    assert sigmas.shape == (13,)
    assert sigmas[-1] == 0
    assert bool((sigmas.diff() < 0).all())


def test_unshifted_times_are_uniform() -> None:
    sigmas = flow_sigmas(4, t_max=0.8)
    times = sigmas / (1 + sigmas)
    torch.testing.assert_close(times, torch.tensor([0.8, 0.6, 0.4, 0.2, 0.0]).double())


def test_shift_multiplies_every_noise_level() -> None:
    """t' = shift t / (1 + (shift - 1) t) is the same as sigma' = shift sigma."""
    torch.testing.assert_close(flow_sigmas(9, shift=3.0), 3 * flow_sigmas(9))


def test_shift_agrees_with_diffusers() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.5)
    scheduler.set_timesteps(sigmas=torch.linspace(0.99, 0, 11)[:-1].tolist())
    sigmas = flow_sigmas(10, shift=2.5)
    torch.testing.assert_close(scheduler.sigmas, (sigmas / (1 + sigmas)).float())


@pytest.mark.parametrize(
    ("steps", "shift", "t_max", "match"),
    [
        (0, 1.0, 0.9, "at least one step, got 0"),
        (5, 0.0, 0.9, "shift of the schedule must be positive, got 0"),
        (5, float("nan"), 0.9, "shift of the schedule must be positive, got nan"),
        (5, 1.0, 1.0, "t_max must lie between 0 and 1"),
        (5, 1.0, 0.0, "t_max must lie between 0 and 1"),
    ],
)
def test_refuses_impossible_schedules(steps: int, shift: float, t_max: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        flow_sigmas(steps, shift, t_max)


def test_times_are_logit_normal_and_repeatable() -> None:
    times = sample_times(torch.Generator().manual_seed(4), 20_000, mean=-0.6, std=1.3)
    again = sample_times(torch.Generator().manual_seed(4), 20_000, mean=-0.6, std=1.3)
    assert torch.equal(times, again)
    assert times.shape == (20_000,)
    assert 0 < float(times.min()) < float(times.max()) < 1
    logits = torch.logit(times.double())
    assert abs(float(logits.mean()) + 0.6) < 5 * 1.3 / 20_000**0.5
    assert abs(float(logits.std()) - 1.3) < 5 * 1.3 / 40_000**0.5


def test_published_noise_levels_agree_with_diffusers() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear",
        timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(50)
    assert (scheduler.timesteps + 1).tolist() == list(range(1000, 0, -20))  # theirs count from 0
    abar = scheduler.alphas_cumprod[scheduler.timesteps].double()
    sigmas, fresh = published(50)
    torch.testing.assert_close(sigmas[:-1], ((1 - abar) / abar).sqrt(), rtol=1e-4, atol=0)
    assert sigmas[-1] == fresh[-1] == 0
    assert float((1 + sigmas[0] ** 2) ** -0.5) == pytest.approx(0.0119, abs=5e-5)


def test_published_noise_is_a_quarter_of_that_of_ddim_with_eta_one() -> None:
    """One-step betas at a stride of 20: an eta of 0.23 to 0.25 (the ratio of the deviations)."""
    sigmas, fresh = published(50)
    abar = 1 / (1 + sigmas**2)
    now, after = abar[:-1], abar[1:]
    full = ((1 - after) / (1 - now) * (1 - now / after) / after).sqrt()
    eta = (fresh / full)[:-1]  # the last step, to abar 1, adds none in either
    assert float(eta.min()) > 0.23
    assert float(eta.max()) < 0.25


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 333, 999, 1000])
def test_published_schedule_goes_down_with_room_for_its_noise(steps: int) -> None:
    sigmas, fresh = published(steps)
    assert sigmas.shape == (steps + 1,)
    assert fresh.shape == (steps,)
    assert bool((sigmas.diff() < 0).all())
    assert bool((fresh <= sigmas[1:]).all())
    assert bool((fresh[:-1] > 0).all())


@pytest.mark.parametrize("steps", [0, 1001])
def test_published_schedule_has_a_thousand_steps_at_most(steps: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 1000 steps, got {steps}"):
        published(steps)
