"""What a mode paints, in which windows, and how often it asks the network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from geodiff.errors import UsageError
from geodiff.jobs.imagine import imagine
from geodiff.jobs.mosaic.modes import GUIDED_SIGMAS, WEIGHTS, Sampling, unbound
from geodiff.jobs.mosaic.sampling import conditions, denoise
from geodiff.jobs.request import MODES
from geodiff.models.bundle import Model
from geodiff.window import Window
from tests.jobs.toys import grid_of, toyed

CANVASES = [Window(0, 0, 8, 8), Window(-3, 5, 8, 21), Window(16, -24, 28, 16), Window(7, 9, 17, 23)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("canvas", CANVASES)
def test_counter_counts_the_calls_of_the_network(
    model: Model, mode: str, guidance: float, canvas: Window
) -> None:
    model, toy = toyed(model)
    sampling = replace(Sampling.of(mode, model, 6, guidance, 2), batch=1)  # no filling of batches
    grid = grid_of(64, 64)
    known = conditions(model, sampling, imagine(model, grid), grid, canvas)
    states = list(denoise(model, sampling, known, canvas, 0.6, 0))
    assert sum(toy.calls) == sampling.evaluations(canvas)
    assert len(states) == 6
    assert states[-1].shape == (1, 4, *canvas.shape)


@pytest.mark.parametrize("solver", ["euler", "heun", "published"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_counter_knows_every_solver(model: Model, solver: str, steps: int) -> None:
    model, toy = toyed(model)
    sampling = replace(Sampling.of("fast", model, steps, 2.0, 2), solver=solver, batch=1)
    grid, canvas = grid_of(64, 64), Window(-2, 3, 20, 19)
    known = conditions(model, sampling, imagine(model, grid), grid, canvas)
    list(denoise(model, sampling, known, canvas, 0.6, 0))
    assert sum(toy.calls) == sampling.evaluations(canvas)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("guidance", [1.0, 2.0, 5.0])
def test_taught_guidance_paints_the_same_with_fewer_calls(
    model: Model, mode: str, guidance: float
) -> None:
    (asked, twice), (taught, once) = toyed(model), toyed(model, (1.0, 4.0))
    grid, canvas = grid_of(64, 64), Window(-2, 3, 20, 19)
    known = imagine(model, grid)
    last = []
    for one in (asked, taught):
        sampling = replace(Sampling.of(mode, one, 5, guidance, 2), batch=1, steer=0.0)
        under = conditions(one, sampling, known, grid, canvas)
        *_, state = denoise(one, sampling, under, canvas, 0.6, 0)
        last.append(state)
        assert sum(one.denoiser.calls) == sampling.evaluations(canvas)  # type: ignore[attr-defined]
    torch.testing.assert_close(last[0], last[1], atol=1e-5, rtol=1e-5)
    if mode == "paper" or guidance != 2:  # as published; nothing to guide; a scale it never saw
        assert sum(once.calls) == sum(twice.calls)
    else:
        assert sum(once.calls) < sum(twice.calls)


@pytest.mark.parametrize("mode", MODES)
def test_canvases_that_are_alike_have_as_many_windows(model: Model, mode: str) -> None:
    sampling = Sampling.of(mode, model, None, 2.0, 4)
    random = np.random.default_rng(0)
    for row, col in random.integers(-(10**6), 10**6, (20, 2)).tolist():
        canvas = Window(row, col, 29, 17)
        near = sampling.alike(canvas)
        assert near.shape == canvas.shape
        assert (
            0
            <= min(near.row, near.col)
            <= max(near.row, near.col)
            < math.lcm(*sampling.strides, sampling.between)
        )
        for count in (sampling.evaluations, sampling.computed, sampling.windows):
            assert count(near) == count(canvas)


def along(start: int, length: int, size: int, stride: int, offset: int) -> int:
    """Windows along one axis, as docs/concepts.md has it."""
    if length == size:
        return 1
    last = start + length - size
    return math.ceil((last - offset) / stride) - math.floor((start - offset) / stride) + 1


def formula(sampling: Sampling, canvas: Window) -> int:
    """Network evaluations of a pass, as docs/concepts.md has it: rows x columns x 1 or 2."""
    total = 0
    for step, sigma in enumerate(sampling.sigmas[:-1].tolist()):
        stride = sampling.strides[step]
        row, col = sampling.anchor(canvas)
        if sampling.shifted:
            row += math.floor(stride * math.fmod(step / 1.324717957244746, 1))
            col += math.floor(stride * math.fmod(step / 1.324717957244746**2, 1))
        rows = along(canvas.row, canvas.height, sampling.size, stride, row)
        cols = along(canvas.col, canvas.width, sampling.size, stride, col)
        low, high = sampling.guided
        total += rows * cols * (2 if sampling.guidance != 1 and low < sigma <= high else 1)
    return total


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("canvas", [*CANVASES, Window(-100, 37, 300, 211)])
def test_formula_of_the_concepts_is_the_counter(model: Model, mode: str, canvas: Window) -> None:
    sampling = Sampling.of(mode, model, None, None, 8)
    assert formula(sampling, canvas) == sampling.evaluations(canvas)


def test_paper_costs_what_was_published(model: Model) -> None:
    """1,024 px at factor 4 with windows of 64: 169 windows, two calls, 50 steps."""
    sampling = replace(Sampling.of("paper", model, None, None, 8), size=64, stride=16)
    assert sampling.windows(Window(0, 0, 256, 256)) == 169
    assert sampling.evaluations(Window(0, 0, 256, 256)) == 16_900
    assert sampling.evaluations(Window(-5, 3, 256, 256)) == 16_900  # counted from the canvas
    assert sampling.evaluations(Window(0, 0, 1024, 1024)) == 372_100


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("canvas", CANVASES)
def test_windows_cover_every_latent_at_every_step(model: Model, mode: str, canvas: Window) -> None:
    sampling = Sampling.of(mode, model, None, None, 8)
    fuse = sampling.windowed(unbound, canvas)
    for sigma in sampling.levels:
        hits = np.zeros(canvas.shape, int)
        for window in fuse.windows(sigma):
            hits[window.within(canvas)] += 1
        assert hits.min() >= 1
        assert fuse.evaluations(sigma) == len(fuse.windows(sigma))


def test_fast_overlaps_at_the_middle_noise_levels_alone(model: Model) -> None:
    sampling = Sampling.of("fast", model, None, None, 8)
    canvas = Window(0, 0, 24, 24)
    fuse = sampling.windowed(unbound, canvas)
    for step, sigma in enumerate(sampling.levels):
        middle = 0.1 <= sigma <= 1.0
        assert sampling.strides[step] == (6 if middle else 8)
        hits = np.zeros(canvas.shape, int)
        for window in fuse.windows(sigma):
            hits[window.within(canvas)] += 1
        inner = hits[8:-8, 8:-8]  # windows that stuck out overlap at the border
        assert inner.max() == (4 if middle else 1)
    assert set(sampling.strides) == {6, 8}


def test_modes_are_what_the_concepts_say(model: Model) -> None:
    paper, quality, balanced, fast = (Sampling.of(m, model, None, None, 8) for m in MODES)
    assert (paper.stride, quality.stride, balanced.stride, fast.stride) == (2, 4, 6, 8)
    assert (paper.shifted, quality.shifted, balanced.shifted, fast.shifted) == (
        False, False, True, True,
    )  # fmt: skip
    assert (paper.steps, paper.guidance, paper.pad) == (50, 4.0, 0)
    assert paper.guided == (0.0, math.inf)
    assert quality.guided == fast.guided == GUIDED_SIGMAS
    assert balanced.guided == (0.3, 3.0)
    assert quality.guidance == balanced.guidance == fast.guidance == 1.5
    assert quality.steps > balanced.steps > fast.steps
    for window in (8, 32, 64):  # each is cheaper than the one before
        large = replace(model, window=window)
        canvas = Window(0, 0, 8 * window, 8 * window)
        costs = [Sampling.of(m, large, None, None, 8).evaluations(canvas) for m in MODES]
        assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("mode", MODES)
def test_options_win_over_the_mode(model: Model, mode: str) -> None:
    chosen = Sampling.of(mode, model, 3, 0.0, 2)
    assert (chosen.steps, chosen.guidance, chosen.batch) == (3, 0.0, 2)
    assert len(chosen.sigmas) == 4
    assert len(chosen.strides) == len(chosen.levels) == 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 70), (64, 64)])
def test_canvas_holds_the_grid_and_a_window(model: Model, mode: str, size: tuple[int, int]) -> None:
    sampling = Sampling.of(mode, model, None, None, 8)
    grid = grid_of(*size, -5, 13)
    canvas = sampling.canvas(grid, 8)
    assert grid.latents(8).pad(sampling.pad).intersect(canvas) == grid.latents(8).pad(sampling.pad)
    assert min(canvas.shape) >= sampling.size


def test_start_has_the_variance_of_the_first_noise_level(model: Model) -> None:
    paper = Sampling.of("paper", model, None, None, 8)
    assert paper.start == pytest.approx(float((1 + paper.sigmas[0] ** 2).sqrt()))
    assert Sampling.of("fast", model, None, None, 8).start == pytest.approx(99.0)


def test_levels_are_those_at_which_the_solver_asks(model: Model) -> None:
    base = Sampling.of("balanced", model, 4, None, 8)
    for solver in ("euler", "heun", "dpmpp_2m", "published"):
        sampling = replace(base, solver=solver)
        seen: list[float] = []

        def counted(x: torch.Tensor, sigma: float, seen: list[float] = seen) -> torch.Tensor:
            seen.append(sigma)
            return x / 2

        list(sampling.solve(counted, torch.ones(1, 1, 2, 2), lambda step: torch.ones(1, 1, 2, 2)))
        assert seen == sampling.levels


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"solver": "ddim"}, "solver ddim is unknown; choose dpmpp_2m, euler, heun, published"),
        ({"weights": "flat"}, f"weights flat is unknown; choose {', '.join(WEIGHTS)}"),
        ({"decode_weights": "flat"}, "decode_weights flat is unknown"),
    ],
)
def test_settings_that_do_not_exist_are_refused(
    model: Model, changes: dict[str, str], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        replace(Sampling.of("fast", model, None, None, 8), **changes)  # type: ignore[arg-type]


def test_unknown_mode_is_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="mode best is unknown; choose paper, quality, balanced"):
        Sampling.of("best", model, None, None, 8)


@pytest.mark.parametrize("mode", ["paper", "quality", "balanced", "fast"])
def test_what_is_computed_are_the_evaluations_in_whole_batches(model: Model, mode: str) -> None:
    sampling = Sampling.of(mode, model, None, None, 6)
    canvas = Window(3, 5, 70, 41)
    seen = 0

    def network(x: torch.Tensor, sigma: float) -> torch.Tensor:
        nonlocal seen
        seen += len(x)
        return x

    fuse = sampling.windowed(lambda windows: network, canvas)
    for sigma in sampling.levels:
        guided = sampling.guided[0] < sigma <= sampling.guided[1]
        for _ in range(2 if guided else 1):
            fuse(torch.zeros(1, 1, *canvas.shape), sigma)
    assert sampling.computed(canvas) == seen
    assert seen % 6 == 0
    assert sampling.evaluations(canvas) <= seen
