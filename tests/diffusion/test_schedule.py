from __future__ import annotations

import pytest
import torch

from geodiff.diffusion.schedule import flow_sigmas, sample_times


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
