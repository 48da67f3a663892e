from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from geodiff.diffusion import canvas
from geodiff.diffusion.denoise import Denoise
from geodiff.diffusion.samplers import ancestral, dpmpp_2m, euler, heun
from geodiff.diffusion.schedule import flow_sigmas, published

Sampler = Callable[[Denoise, Tensor, Tensor], Iterator[Tensor]]
SAMPLERS: list[Sampler] = [euler, heun, dpmpp_2m]


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def last(states: Iterator[Tensor]) -> Tensor:
    *_, result = states
    return result


@pytest.mark.parametrize(
    ("sampler", "order"), [(euler, 1), (heun, 2), (dpmpp_2m, 2)], ids=["euler", "heun", "dpmpp_2m"]
)
def test_error_falls_with_the_order_of_the_method(
    sampler: Sampler, order: int, gaussian: Denoise
) -> None:
    x = 20 * noise(1, 1, 4, 4).double()
    exact = gaussian.solution(x, 20.0, 0.1)  # type: ignore[attr-defined]
    errors = []
    for steps in (80, 160):
        sigmas = torch.logspace(math.log10(20), -1, steps + 1, dtype=torch.float64)
        result = last(sampler(gaussian, x, sigmas))
        errors.append(float((result - exact).abs().max()))
    assert errors[1] < 0.05
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.15


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_to_zero_lands_on_the_data(sampler: Sampler, gaussian: Denoise) -> None:
    sigmas = flow_sigmas(60)
    x = float(sigmas[0]) * noise(1, 1, 40, 40)
    exact = gaussian.solution(x, float(sigmas[0]), 0.0)  # type: ignore[attr-defined]
    assert float((last(sampler(gaussian, x, sigmas)) - exact).abs().max()) < 0.08
    error = (last(sampler(gaussian, x, flow_sigmas(240))) - exact).abs().max()
    assert float(error) < 0.02


def test_heun_agrees_with_an_adaptive_solver(mixture: Denoise) -> None:
    from scipy.integrate import solve_ivp

    x = 10 * noise(1, 1, 3, 3).double()

    def slope(sigma: float, flat: np.ndarray) -> np.ndarray:
        return (flat - mixture(torch.from_numpy(flat), sigma).numpy()) / sigma

    truth = solve_ivp(slope, (10.0, 0.05), x.flatten().numpy(), rtol=1e-9, atol=1e-9).y[:, -1]
    sigmas = torch.logspace(1, math.log10(0.05), 301, dtype=torch.float64)
    result = last(heun(mixture, x, sigmas)).flatten().numpy()
    np.testing.assert_allclose(result, truth, rtol=0, atol=2e-4)


def test_euler_is_ddim(mixture: Denoise) -> None:
    """DDIM with eta 0 (Song et al. 2021, eq. 12) in its own variance preserving variables."""
    alphas = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)  # cumulative products
    sigmas = ((1 - alphas) / alphas).sqrt()
    x = float(sigmas[0]) * noise(1, 2, 3, 3).double()
    state = x * alphas[0].sqrt()
    states = euler(mixture, x, sigmas)
    for now, after, sigma, ours in zip(alphas, alphas[1:], sigmas, states, strict=False):
        clean = mixture(state / now.sqrt(), float(sigma))
        epsilon = (state - now.sqrt() * clean) / (1 - now).sqrt()
        state = after.sqrt() * clean + (1 - after).sqrt() * epsilon
        torch.testing.assert_close(ours * after.sqrt(), state)


def flow_velocity(denoise: Denoise, x_t: Tensor, t: float) -> Tensor:
    """What a rectified flow network would answer for this denoiser."""
    return (x_t - denoise(x_t / (1 - t), t / (1 - t))) / t


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_equals_diffusers_at_every_step(shift: float, mixture: Denoise) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    sigmas = flow_sigmas(12, shift)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=(sigmas / (1 + sigmas))[:-1].tolist())
    x = float(sigmas[0]) * noise(1, 3, 4, 5)
    theirs = x / (1 + float(sigmas[0]))
    states = euler(mixture, x, sigmas)
    for i, (time, ours) in enumerate(zip(scheduler.timesteps, states, strict=True)):
        velocity = flow_velocity(mixture, theirs, float(scheduler.sigmas[i]))
        theirs = scheduler.step(velocity, time, theirs).prev_sample
        torch.testing.assert_close(ours / (1 + sigmas[i + 1].float()), theirs, rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in diffusers
@pytest.mark.parametrize("steps", [3, 10, 20])
def test_dpmpp_2m_equals_diffusers_at_every_step(steps: int, mixture: Denoise) -> None:
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=2.0,
        lower_order_final=True,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(steps)
    times = scheduler.sigmas.double()
    sigmas = times / (1 - times)
    x = float(sigmas[0]) * noise(1, 3, 4, 5)
    theirs = x / (1 + float(sigmas[0]))
    states = dpmpp_2m(mixture, x, sigmas)
    for i, (time, ours) in enumerate(zip(scheduler.timesteps, states, strict=True)):
        velocity = flow_velocity(mixture, theirs, float(times[i]))
        theirs = scheduler.step(velocity, time, theirs).prev_sample
        torch.testing.assert_close(ours / (1 + sigmas[i + 1].float()), theirs, rtol=0, atol=5e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in diffusers
@pytest.mark.parametrize("steps", [2, 7, 12])
def test_heun_equals_diffusers_at_every_step(steps: int, mixture: Denoise) -> None:
    """Its flow scheduler integrates over time, which is another method; this one over sigma."""
    from diffusers import HeunDiscreteScheduler

    scheduler = HeunDiscreteScheduler(
        prediction_type="epsilon", beta_schedule="scaled_linear", timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    sigmas = torch.unique_consecutive(scheduler.sigmas).double()
    assert len(sigmas) == steps + 1
    x = theirs = float(sigmas[0]) * noise(1, 3, 4, 5)
    calls = iter(range(len(scheduler.timesteps)))
    for i, ours in enumerate(heun(mixture, x, sigmas)):
        for _ in range(2 if i < steps - 1 else 1):
            call = next(calls)
            sigma = float(scheduler.sigmas[call])
            epsilon = (theirs - mixture(theirs, sigma)) / sigma
            theirs = scheduler.step(epsilon, scheduler.timesteps[call], theirs).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("every", [1, 20])
def test_published_solver_equals_diffusers_where_it_is_ddpm(every: int, mixture: Denoise) -> None:
    """DDIM with eta 1 on the whole table of 1,000 steps is what the published update is there.

    Every 20th step the deterministic parts agree: DDIM with eta 0 and no fresh noise.
    """
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False,
        timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(1000 // every)
    sigmas, fresh = published(1000 // every)
    if every > 1:
        fresh = torch.zeros_like(fresh)
    fields = [noise(1, 3, 4, 5) * (-1) ** k for k in range(1000 // every)]
    theirs = noise(1, 3, 4, 5).double()
    x = theirs * (1 + sigmas[0] ** 2).sqrt()
    states = ancestral(mixture, x, sigmas, fresh, lambda step: fields[step].double())
    for step, ours in enumerate(states):
        t = scheduler.timesteps[step]
        abar = scheduler.alphas_cumprod[t].double()
        clean = mixture(theirs / abar.sqrt(), float(((1 - abar) / abar).sqrt()))
        epsilon = (theirs - abar.sqrt() * clean) / (1 - abar).sqrt()
        theirs = scheduler.step(
            epsilon, t, theirs, eta=float(every == 1), variance_noise=fields[step].double()
        ).prev_sample
        wanted = theirs * (1 + sigmas[step + 1] ** 2).sqrt()
        torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-3)


def test_new_noise_keeps_the_variance_of_the_schedule() -> None:
    """Where nothing is known of the data but its mean of 0, x stays N(0, sigma^2)."""
    sigmas, fresh = published(50)
    x = float(sigmas[0]) * noise(1, 1, 100, 100)
    planes = torch.randn(50, 1, 1, 100, 100, generator=torch.Generator().manual_seed(1))
    states = ancestral(lambda x, sigma: 0 * x, x, sigmas, fresh, lambda step: planes[step])
    for sigma, state in zip(sigmas[1:-1].tolist(), states, strict=False):
        assert abs(float(state.std()) / sigma - 1) < 0.03


def test_noise_is_asked_for_only_where_it_is_added(gaussian: Denoise) -> None:
    asked: list[int] = []

    def fresh_noise(step: int) -> Tensor:
        asked.append(step)
        return torch.zeros(1, 1, 2, 2)

    sigmas = flow_sigmas(4)
    fresh = torch.tensor([0.5, 0.0, 0.1, 0.0])
    x = noise(1, 1, 2, 2)
    *_, result = ancestral(gaussian, x, sigmas, fresh, fresh_noise)
    assert asked == [0, 2]
    assert not torch.equal(result, last(euler(gaussian, x, sigmas)))
    none = ancestral(gaussian, x, sigmas, torch.zeros(4), fresh_noise)
    assert torch.equal(last(none), last(euler(gaussian, x, sigmas)))


@pytest.mark.parametrize("fresh", [[0.0, 99.0], [-1.0, 0.0], [0.0, 0.1]])
def test_more_new_noise_than_the_level_holds_is_refused(
    fresh: list[float], gaussian: Denoise
) -> None:
    states = ancestral(
        gaussian, noise(1, 1, 2, 2), flow_sigmas(2), torch.tensor(fresh), lambda step: torch.ones(1)
    )
    with pytest.raises(ValueError, match=r"step \d adds noise of .*, but may add 0 to"):
        list(states)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_states_in_files_have_the_same_bits(
    sampler: Sampler, mixture: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, sigmas = 9 * noise(1, 2, 9, 9), flow_sigmas(5)
    inside = list(sampler(mixture, x, sigmas))
    monkeypatch.setattr(canvas, "IN_MEMORY", 0)
    for ours, theirs in zip(sampler(mixture, x, sigmas), inside, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("sampler", "per_step"), [(euler, 1), (heun, 2), (dpmpp_2m, 1)])
def test_evaluations_and_noise_levels(sampler: Sampler, per_step: int, gaussian: Denoise) -> None:
    sigmas = flow_sigmas(5)
    seen: list[float] = []

    def counted(x: Tensor, sigma: float) -> Tensor:
        seen.append(sigma)
        return gaussian(x, sigma)

    states = list(sampler(counted, noise(1, 1, 2, 2), sigmas))
    assert len(states) == 5
    assert len(seen) == 5 * per_step - (per_step - 1)
    assert sorted(set(seen), reverse=True) == sigmas[:-1].tolist()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_last_step_to_zero_is_the_clean_image(sampler: Sampler) -> None:
    clean = noise(1, 1, 3, 3)
    result = last(sampler(lambda x, sigma: clean, 99 * noise(1, 1, 3, 3), flow_sigmas(6)))
    assert torch.equal(result, clean)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_state_is_single_precision_without_a_graph(sampler: Sampler) -> None:
    weight = torch.ones((), requires_grad=True)
    x = noise(1, 1, 2, 2).bfloat16()
    for state in sampler(lambda x, sigma: (weight * x / 2).bfloat16(), x, flow_sigmas(3)):
        assert state.dtype == torch.float32
        assert not state.requires_grad
        assert torch.is_grad_enabled()  # the caller's own mode is left alone between steps


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_start_is_not_written_to(sampler: Sampler, gaussian: Denoise) -> None:
    x = noise(1, 1, 2, 2)
    before = x.clone()
    states = [state.clone() for state in sampler(gaussian, x, flow_sigmas(4))]
    assert torch.equal(x, before)
    kept = list(sampler(gaussian, x, flow_sigmas(4)))
    assert all(torch.equal(a, b) for a, b in zip(states, kept, strict=True))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "sigmas",
    [[1.0], [0.0, 1.0], [1.0, 1.0, 0.0], [1.0, -1.0], [float("nan"), 0.0], [[1.0, 0.0]]],
)
def test_refuses_schedules_that_do_not_decrease(
    sampler: Sampler, sigmas: list[float], gaussian: Denoise
) -> None:
    with pytest.raises(ValueError, match="strictly decreasing noise levels"):
        next(sampler(gaussian, noise(1, 1, 2, 2), torch.tensor(sigmas)))
