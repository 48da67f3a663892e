"""Seam figures on constructed images, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from geodiff.jobs.measures.seams import Lines, fold, lines_of, phase_peak, seam_ratio, shuffled

NONE = np.array([], np.int64)


def noise(seed: int, height: int = 480, width: int = 480) -> np.ndarray:
    return np.random.default_rng(seed).integers(64, 192, (3, height, width)).astype(np.uint8)


def planted(image: np.ndarray, cols: np.ndarray, step: int) -> np.ndarray:
    """The image with a rise or fall of ``step`` across each of the columns, in turn."""
    level = (np.searchsorted(cols, np.arange(image.shape[2]), side="right") % 2) * step
    return (image + level).astype(np.uint8)


def test_energy_is_the_mean_square_across_each_line_in_units_of_its_mean():
    image = np.array([[[0, 2, 2, 5], [0, 4, 4, 5]]], np.uint8)
    lines = Lines.of(image, axis=1, start=100)
    assert lines.positions.tolist() == [101, 102, 103]
    np.testing.assert_allclose(lines.energy, np.array([10, 0, 5]) / 5)
    down = Lines.of(image, axis=0, start=-7)
    assert down.positions.tolist() == [-6]


def test_only_lines_of_the_lattice_that_was_asked_for_are_kept():
    lines = Lines.of(noise(0, 8, 40), axis=1, start=-13, every=8)
    assert lines.positions.tolist() == [-8, 0, 8, 16, 24]
    assert lines.without(np.array([1]), 7).positions.tolist() == [-8, 16, 24]
    assert lines.without(np.array([1]), 6).positions.tolist() == [-8, 8, 16, 24]


def test_the_ratio_of_a_constructed_image_is_exact():
    # Stripes of height 1 in turn with a step of 3 at columns 4 and 8: squares 9 over squares 1.
    stripes = np.array([10, 11, 10, 11, 14, 13, 14, 13, 10, 11, 10, 11], np.uint8)
    image = np.tile(stripes, (1, 5, 1))
    parts = [Lines.of(image, axis=1)]
    assert seam_ratio(parts, NONE, np.array([4, 8])) == pytest.approx(9)
    turned = [Lines.of(image.swapaxes(1, 2), axis=0)]
    assert seam_ratio(turned, np.array([4, 8]), NONE) == pytest.approx(9)
    assert seam_ratio(turned, np.array([4]), NONE) == pytest.approx(9 / ((9 + 9) / 10))


def test_the_ratio_is_one_for_noise_and_above_with_planted_seams():
    cols = np.arange(48, 480, 48)
    parts = lines_of([noise(1), noise(2)], [(0, 0), (480, 960)], every=8)
    assert seam_ratio(parts, cols, cols) == pytest.approx(1, abs=0.02)
    seamed = lines_of([planted(noise(1), cols, 40)], [(0, 0)], every=8)
    assert seam_ratio(seamed, NONE, cols) > 1.2
    assert seam_ratio(seamed, cols, NONE) == pytest.approx(1, abs=0.02)


def test_contrast_and_brightness_do_not_change_the_figures():
    cols = np.arange(48, 480, 48)
    image = planted(noise(3), cols, 20)
    other = [Lines.of(image // 2 * 2, 1, 0, 8)]
    half = [Lines.of(image // 2 + 9, 1, 0, 8)]
    assert seam_ratio(other, NONE, cols) == pytest.approx(seam_ratio(half, NONE, cols))


def test_the_peak_finds_period_phase_and_axis_of_planted_seams():
    cols = np.arange(40, 480, 96)
    parts = lines_of([planted(noise(4), cols - 16, 40)], [(-480, 16)], every=8)
    found = phase_peak(parts, period=96)
    assert (found.axis, found.phase) == (1, 40)
    assert found.peak > found.limit > found.chance > 1
    assert found.excess > 1.1


def test_the_peak_of_noise_is_that_of_chance():
    within = 0
    for seed in range(20):
        found = phase_peak(lines_of([noise(seed, 192, 192)], [(0, 0)], every=8), 64, draws=60)
        assert found.excess == pytest.approx(1, abs=0.05)
        within += found.peak <= found.limit
    assert within >= 16  # 19 of 20 are expected


def test_a_grid_of_the_decoder_is_no_seam():
    grid = planted(noise(5), np.arange(8, 480, 8), 40)
    assert phase_peak([Lines.of(grid, 1, 0, every=8)], 64).excess < 1.03
    assert phase_peak([Lines.of(grid, 1, 0, every=1)], 64).excess > 1.2


def test_folding_takes_means_and_shuffling_stays_inside_a_period():
    lines = Lines(np.arange(0, 80, 10), np.array([1.0, 2, 3, 4, 5, 6, 7, 8]), 1)
    phases, energy = fold([lines], 40)
    assert phases.tolist() == [0, 10, 20, 30]
    assert energy.tolist() == [3, 4, 5, 6]
    mixed = shuffled(lines, 40, np.random.default_rng(0))
    assert sorted(mixed.energy[:4]) == [1, 2, 3, 4]
    assert sorted(mixed.energy[4:]) == [5, 6, 7, 8]
    assert mixed.energy.tolist() != lines.energy.tolist()


def test_what_holds_no_answer_is_refused():
    with pytest.raises(ValueError, match="no gradient"):
        Lines.of(np.full((1, 8, 8), 7, np.uint8), 1)
    parts = [Lines.of(noise(6, 8, 16), 1)]
    with pytest.raises(ValueError, match="no border line"):
        seam_ratio(parts, NONE, np.array([99]))
    with pytest.raises(ValueError, match="every line"):
        seam_ratio(parts, NONE, np.arange(1, 16))
