from __future__ import annotations

import numpy as np
import pytest
import torch

from geodiff.diffusion.blend import count_windows, cover, gaussian, offsets, tent, uniform
from geodiff.window import Window

CANVASES = [Window(0, 0, 8, 8), Window(-13, 5, 8, 40), Window(7, -29, 33, 21)]
STRIDES = [1, 2, 3, 6, 7, 8]


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("offset", [(0, 0), (5, 2), (-3, 11)])
def test_cover_reaches_every_cell_from_inside(
    canvas: Window, stride: int, offset: tuple[int, int]
) -> None:
    windows = cover(canvas, 8, stride, offset)
    hits = np.zeros(canvas.shape, int)
    for window in windows:
        hits[window.within(canvas)] += 1  # raises if the window leaves the canvas
    assert hits.min() >= 1
    assert windows == sorted(set(windows))
    assert len(windows) == count_windows(canvas, 8, stride, offset)


@pytest.mark.parametrize("canvas", CANVASES[1:])
def test_inner_windows_lie_on_the_lattice_not_on_the_canvas(canvas: Window) -> None:
    for window in cover(canvas, 8, 6, (5, 2)):
        assert (window.row - 5) % 6 == 0 or window.row in (canvas.row, canvas.bottom - 8)
        assert (window.col - 2) % 6 == 0 or window.col in (canvas.col, canvas.right - 8)


def test_two_canvases_share_the_windows_that_both_hold() -> None:
    a, b = Window(-20, 0, 60, 50), Window(-9, 11, 70, 33)
    common = a.intersect(b)
    assert common is not None
    inner = common.pad(-8)
    shared = [
        {window for window in cover(canvas, 8, 6, (1, 4)) if window.intersect(inner) == window}
        for canvas in (a, b)
    ]
    assert shared[0] == shared[1] != set()


def test_offset_repeats_with_the_stride() -> None:
    canvas = Window(3, 4, 30, 30)
    assert cover(canvas, 8, 6, (1, 2)) == cover(canvas, 8, 6, (7, -4))


def test_aligned_canvas_gets_the_fewest_windows() -> None:
    assert len(cover(Window(-32, 64, 64, 32), 16, 16, (0, 0))) == 4 * 2
    assert len(cover(Window(0, 0, 64, 64), 16, 8, (0, 0))) == 7 * 7


@pytest.mark.parametrize("stride", [0, 9])
def test_refuses_strides_that_leave_gaps_or_stand_still(stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride of {stride} .* choose a stride from 1 to 8"):
        cover(Window(0, 0, 20, 20), 8, stride, (0, 0))


def test_refuses_a_canvas_smaller_than_a_window() -> None:
    with pytest.raises(ValueError, match=r"7 x 20 cells .* make it at least 8 x 8"):
        cover(Window(0, 0, 7, 20), 8, 4, (0, 0))


def test_offsets_fill_the_period_evenly() -> None:
    shifts = np.array([offsets(step, 24) for step in range(144)])
    assert tuple(shifts[0]) == (0, 0)
    assert shifts.min() == 0
    assert shifts.max() == 23
    counts, _, _ = np.histogram2d(*shifts.T, bins=(4, 4), range=((0, 24), (0, 24)))
    assert counts.min() >= 7  # 9 on average
    assert counts.max() <= 11


def test_offsets_are_the_r2_sequence() -> None:
    assert [offsets(step, 1000) for step in (1, 2, 3)] == [(754, 569), (509, 139), (264, 709)]


def test_consecutive_offsets_are_far_apart() -> None:
    for step in range(50):
        moved = [abs(a - b) for a, b in zip(offsets(step, 96), offsets(step + 1, 96), strict=True)]
        assert all(20 <= distance <= 76 for distance in moved)


@pytest.mark.parametrize(("step", "period"), [(-1, 8), (0, 0)])
def test_offsets_refuse_negative_steps_and_empty_periods(step: int, period: int) -> None:
    with pytest.raises(ValueError, match="step >= 0 and period >= 1"):
        offsets(step, period)


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_tent_is_positive_symmetric_and_highest_in_the_middle(size: int) -> None:
    weights = tent(size)
    assert weights.shape == (size, size)
    assert weights.dtype == torch.float32
    assert float(weights.min()) > 0
    assert torch.equal(weights, weights.flip(0))
    assert torch.equal(weights, weights.T)
    assert weights.max() == weights[size // 2, size // 2]


def test_tents_at_half_a_window_add_up_to_a_constant() -> None:
    weights = tent(16).double()
    total = weights[:8, :8] + weights[8:, :8] + weights[:8, 8:] + weights[8:, 8:]
    torch.testing.assert_close(total, torch.full_like(total, 1.001**2), rtol=1e-6, atol=0)


def test_uniform_weighs_all_cells_alike() -> None:
    assert torch.equal(uniform(5), torch.ones(5, 5))


@pytest.mark.parametrize("size", [2, 7, 64])
def test_gaussian_is_the_published_kernel(size: int) -> None:
    weights = gaussian(size)
    assert weights.shape == (size, size)
    assert weights.dtype == torch.float32
    assert bool((weights > 0).all())
    for row, y in enumerate(np.linspace(-1, 1, size)):
        for col, x in enumerate(np.linspace(-1, 1, size)):
            wanted = np.exp(-(x * x + y * y) / 0.64)
            assert float(weights[row, col]) == pytest.approx(wanted, rel=1e-6)
