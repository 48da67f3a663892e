from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from geodiff.diffusion import canvas as canvas_memory
from geodiff.diffusion.blend import cover, offsets, tent, uniform
from geodiff.diffusion.denoise import Denoise, Guided, Precondition, Windowed
from geodiff.diffusion.noise import plane
from geodiff.diffusion.samplers import dpmpp_2m, euler, heun
from geodiff.diffusion.schedule import flow_sigmas
from geodiff.window import Window

SIZE = 8
CANVAS = Window(-5, 13, 19, 26)
SIGMAS = flow_sigmas(6)


def start(canvas: Window = CANVAS, channels: int = 2) -> Tensor:
    return float(SIGMAS[0]) * torch.from_numpy(plane(7, canvas, channels, "start"))[None]


def last(states: object) -> Tensor:
    *_, result = states  # type: ignore[misc]
    return result


def contextual(windows: Sequence[Window]) -> Denoise:
    """Sees its whole window and its place; one image at a time, hence blind to its batch."""

    def clean(x: Tensor, sigma: float) -> Tensor:
        images = []
        for image, window in zip(x, windows, strict=True):
            context = torch.tanh(image.double().mean()).float()
            ramp = torch.linspace(-1, 1, image.shape[-1])
            place = (window.row % 5 - window.col % 3) / 10
            images.append((image + sigma * (context * ramp + place)) / (1 + sigma**2))
        return torch.stack(images)

    return clean


def windowed(at: Callable[[Sequence[Window]], Denoise] = contextual, **changes: object) -> Windowed:
    base = Windowed(at, CANVAS, SIZE, (6,), tent(SIZE), SIGMAS, shifted=True, batch=4)
    if "stride" in changes:
        changes["strides"] = (changes.pop("stride"),)
    return replace(base, **changes)  # type: ignore[arg-type]


# Precondition


def test_precondition_turns_the_true_velocity_into_the_clean_image(mixture: Denoise) -> None:
    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        time = float(t[0])
        return (x_t - mixture(x_t / (1 - time), time / (1 - time))) / time

    x = start()
    for sigma in (0.01, 1.0, 30.0):
        clean = Precondition(velocity)(x, sigma)
        torch.testing.assert_close(clean, mixture(x, sigma), rtol=1e-4, atol=1e-4)


def test_precondition_gives_one_time_an_image_and_keeps_the_type() -> None:
    seen: list[Tensor] = []

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        seen.extend([x_t, t])
        return x_t.bfloat16()

    x = torch.ones(3, 1, 2, 2)
    assert Precondition(velocity)(x, 3.0).dtype == torch.float32
    assert torch.equal(seen[0], x / 4)
    assert torch.equal(seen[1], torch.full((3,), 0.75))


def test_precondition_at_no_noise_changes_nothing() -> None:
    x = start()
    assert torch.equal(Precondition(lambda x_t, t: x_t + 5)(x, 0.0), x)


# Guided


def refuse(x: Tensor, sigma: float) -> Tensor:
    raise RuntimeError("the unconditional network was called")


def test_guidance_extrapolates_from_uncond_over_cond() -> None:
    guided = Guided(lambda x, s: 3 * x, lambda x, s: x, scale=2.5)
    x = start()
    torch.testing.assert_close(guided(x, 1.0), (1 + 2.5 * 2) * x)


def test_guidance_acts_only_inside_its_interval() -> None:
    guided = Guided(lambda x, s: 3 * x, lambda x, s: x, scale=2.0, interval=(0.2, 4.0))
    x = start()
    acts = {0.1: False, 0.2: False, 0.21: True, 4.0: True, 4.1: False}
    for sigma, active in acts.items():
        assert guided.active(sigma) == active
        torch.testing.assert_close(guided(x, sigma), (5 if active else 3) * x)


def test_scale_one_and_outside_the_interval_never_call_uncond() -> None:
    x = start()
    assert torch.equal(Guided(lambda x, s: 2 * x, refuse, scale=1.0)(x, 1.0), 2 * x)
    assert torch.equal(Guided(lambda x, s: 2 * x, refuse, 3.0, (2.0, 4.0))(x, 1.0), 2 * x)
    with pytest.raises(RuntimeError, match="was called"):
        Guided(lambda x, s: 2 * x, refuse, scale=1.5)(x, 1.0)


@pytest.mark.parametrize("interval", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_guidance_refuses_an_empty_interval(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="0 <= lo < hi"):
        Guided(refuse, refuse, 2.0, interval)


# Windowed


@pytest.mark.parametrize("sampler", [euler, heun, dpmpp_2m])
@pytest.mark.parametrize(("stride", "shifted"), [(2, False), (6, True), (8, True)])
def test_windows_of_a_pointwise_denoiser_equal_the_whole_plane(
    sampler: Callable[..., object], stride: int, shifted: bool, mixture: Denoise
) -> None:
    whole = last(sampler(mixture, start(), SIGMAS))
    fused = last(
        sampler(windowed(lambda _: mixture, stride=stride, shifted=shifted), start(), SIGMAS)
    )
    torch.testing.assert_close(fused, whole, rtol=0, atol=1e-5)


def naive(x: Tensor, sigmas: list[float], stride: int, weights: Tensor, shifted: bool) -> Tensor:
    """Euler over fused windows as plainly as possible: one window, then one cell at a time."""
    _, channels, height, width = x.shape
    for step, sigma in enumerate(sigmas[:-1]):
        shift = offsets(step, stride) if shifted else (0, 0)
        corners = set()
        for row in range(-100, 100):
            for col in range(-100, 100):
                if (row - shift[0]) % stride or (col - shift[1]) % stride:
                    continue
                if row + SIZE <= CANVAS.row or row >= CANVAS.bottom:
                    continue
                if col + SIZE <= CANVAS.col or col >= CANVAS.right:
                    continue
                top = min(max(row, CANVAS.row), CANVAS.bottom - SIZE)
                left = min(max(col, CANVAS.col), CANVAS.right - SIZE)
                corners.add((top, left))
        value = torch.zeros(channels, height, width, dtype=torch.float64)
        count = torch.zeros(height, width, dtype=torch.float64)
        for row, col in corners:
            top, left = row - CANVAS.row, col - CANVAS.col
            crop = x[:, :, top : top + SIZE, left : left + SIZE]
            clean = contextual([Window(row, col, SIZE, SIZE)])(crop, sigma)
            for i in range(SIZE):
                for j in range(SIZE):
                    value[:, top + i, left + j] += weights[i, j] * clean[0, :, i, j]
                    count[top + i, left + j] += weights[i, j]
        clean = (value / count).float()
        x = clean + sigmas[step + 1] / sigma * (x - clean)
    return x


@pytest.mark.parametrize(
    ("stride", "weights", "shifted"),
    [(2, uniform(SIZE), False), (4, tent(SIZE), False), (6, tent(SIZE), True)],
    ids=["paper", "quality", "balanced"],
)
def test_modes_equal_a_naive_reference(stride: int, weights: Tensor, shifted: bool) -> None:
    sigmas = flow_sigmas(3, t_max=0.8)
    x = start() / SIGMAS[0].float() * sigmas[0].float()
    denoise = windowed(stride=stride, weights=weights, shifted=shifted, sigmas=sigmas)
    expected = naive(x, sigmas.tolist(), stride, weights, shifted)
    torch.testing.assert_close(last(euler(denoise, x, sigmas)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 7, 50])
def test_result_is_the_same_to_the_bit_for_every_batch_size(batch: int) -> None:
    one = last(heun(windowed(batch=4), start(), SIGMAS))
    assert torch.equal(last(heun(windowed(batch=batch), start(), SIGMAS)), one)


@pytest.mark.parametrize("lanes", [2, 3, 50])
def test_calls_beside_each_other_change_no_bit(lanes: int) -> None:
    one = last(heun(windowed(batch=2), start(), SIGMAS))
    assert torch.equal(last(heun(windowed(batch=2, lanes=lanes), start(), SIGMAS)), one)


def test_every_network_call_has_the_constant_size() -> None:
    shapes: set[tuple[int, ...]] = set()

    def at(windows: Sequence[Window]) -> Denoise:
        def clean(x: Tensor, sigma: float) -> Tensor:
            assert len(windows) == len(x)
            shapes.add(tuple(x.shape))
            return contextual(windows)(x, sigma)

        return clean

    for _ in euler(windowed(at, batch=5), start(), SIGMAS):
        pass
    assert shapes == {(5, 2, SIZE, SIZE)}


@pytest.mark.parametrize(("stride", "shifted"), [(2, False), (6, True), (8, True)])
def test_evaluations_are_the_windows_that_are_predicted(stride: int, shifted: bool) -> None:
    predicted: list[Window] = []

    def at(windows: Sequence[Window]) -> Denoise:
        predicted.extend(windows)
        return contextual(windows)

    denoise = windowed(at, stride=stride, shifted=shifted, batch=1)
    for sigma in SIGMAS[:-1].tolist():
        predicted.clear()
        denoise(start(), sigma)
        assert predicted == denoise.windows(sigma)
        assert len(predicted) == denoise.evaluations(sigma)


def test_aligned_windows_are_as_many_as_the_formula_says() -> None:
    """(L - W) / s + 1 a side on a canvas that is whole strides and starts on the lattice."""
    denoise = windowed(canvas=Window(-16, 32, 24, 40), stride=4, shifted=False)
    assert denoise.evaluations(1.0) == (16 // 4 + 1) * (32 // 4 + 1)


def test_conditions_meet_the_pixels_of_their_place() -> None:
    field = torch.from_numpy(plane(1, CANVAS, 2, "field"))

    def at(windows: Sequence[Window]) -> Denoise:
        crops = torch.stack([field[:, *window.within(CANVAS)] for window in windows])
        return lambda x, sigma: crops

    torch.testing.assert_close(windowed(at)(start(), 1.0)[0], field, rtol=0, atol=1e-6)


def test_shift_belongs_to_the_step_of_the_schedule() -> None:
    denoise = windowed(stride=6)
    for step, sigma in enumerate(SIGMAS[:-1].tolist()):
        assert denoise.offset(sigma) == offsets(step, 6)
        assert denoise.offset(float(torch.tensor(sigma, dtype=torch.float32))) == offsets(step, 6)
        assert replace(denoise, shifted=False).offset(sigma) == (0, 0)
    assert replace(denoise, sigmas=SIGMAS.float()).offset(float(SIGMAS[3])) == offsets(3, 6)
    assert denoise.offset(float(SIGMAS[1] + SIGMAS[2]) / 2) == offsets(2, 6)


def test_strides_belong_to_the_step_and_the_shift_follows_them() -> None:
    strides = (8, 8, 6, 5)
    denoise = windowed(strides=strides)
    for step, sigma in enumerate(SIGMAS[:-1].tolist()):
        stride = strides[min(step, 3)]  # the last one goes on
        assert denoise.stride(sigma) == stride
        assert denoise.offset(sigma) == offsets(step, stride)
        expected = cover(CANVAS, SIZE, stride, offsets(step, stride))
        assert denoise.windows(sigma) == expected
        assert denoise.evaluations(sigma) == len(expected)
        alone = windowed(stride=stride)
        assert torch.equal(denoise(start(), sigma), alone(start(), sigma))


def test_windows_may_be_counted_from_another_place() -> None:
    corner = (CANVAS.row, CANVAS.col)
    fixed = windowed(stride=2, shifted=False, anchor=corner)
    rows = sorted({window.row for window in fixed.windows(1.0)})
    assert rows == [*range(CANVAS.row, CANVAS.bottom - SIZE, 2), CANVAS.bottom - SIZE]
    for sigma in SIGMAS[:-1].tolist():  # a whole stride is no other place
        moved = windowed(anchor=(12, -6))
        assert moved.windows(sigma) == windowed().windows(sigma)


def test_canvases_in_files_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = windowed()(start(), 1.0)
    monkeypatch.setattr(canvas_memory, "IN_MEMORY", 0)
    assert torch.equal(windowed()(start(), 1.0), inside)


def test_two_canvases_predict_alike_away_from_their_borders() -> None:
    """Windows hang on the lattice: canvases cut at other places agree to the bit inside."""
    other = Window(-11, 20, 40, 35)
    union = Window(-11, 13, 40, 42)
    x = start(union)
    common = CANVAS.intersect(other)
    assert common is not None
    inner = common.pad(-SIZE)
    for sigma in SIGMAS[:-1].tolist():
        results = []
        for canvas in (CANVAS, other):
            crop = x[:, :, *canvas.within(union)]
            clean = windowed(canvas=canvas)(crop, sigma)
            results.append(clean[:, :, *inner.within(canvas)])
        assert torch.equal(*results)


def test_moving_canvas_and_noise_by_whole_strides_moves_the_result() -> None:
    moved = replace(CANVAS, row=CANVAS.row + 30, col=CANVAS.col - 60)
    a, b = windowed(), windowed(canvas=moved)
    assert torch.equal(a(start(), 1.0), b(start(), 1.0))  # place repeats with 5 and 3


def test_network_may_answer_in_half_precision() -> None:
    def at(windows: Sequence[Window]) -> Denoise:
        return lambda x, sigma: x.bfloat16()

    x = start()
    fused = windowed(at)(x, 1.0)
    assert fused.dtype == torch.float32
    torch.testing.assert_close(fused, x.bfloat16().float())


def test_canvas_of_one_window_is_that_window() -> None:
    canvas = Window(3, 4, SIZE, SIZE)
    x = start(canvas)
    fused = windowed(canvas=canvas, stride=8)(x, 1.0)
    torch.testing.assert_close(fused, contextual([canvas])(x, 1.0))


def test_guidance_may_sit_inside_or_outside_of_the_windows(mixture: Denoise) -> None:
    inside = windowed(lambda w: Guided(contextual(w), mixture, 2.0))
    outside = Guided(windowed(), windowed(lambda _: mixture), 2.0)
    torch.testing.assert_close(inside(start(), 1.0), outside(start(), 1.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"batch": 0}, "at least one window, got 0"),
        ({"weights": torch.ones(4, 4)}, r"8 x 8 like the window, got \(4, 4\)"),
        ({"weights": torch.zeros(SIZE, SIZE)}, "must be positive"),
        ({"canvas": Window(0, 0, 7, 30)}, "7 x 30 cells .* at least 8 x 8"),
        ({"stride": 9}, "stride from 1 to 8"),
        ({"strides": (8, 0)}, "stride from 1 to 8"),
        ({"strides": ()}, "at least one stride"),
    ],
)
def test_refuses_parts_that_do_not_fit(changes: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        windowed(**changes)


@pytest.mark.parametrize("shape", [(2, 2, 19, 26), (1, 2, 26, 19), (2, 19, 26)])
def test_refuses_x_that_does_not_cover_the_canvas(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(1, channel, 19, 26\) like the canvas"):
        windowed()(torch.zeros(shape), 1.0)
