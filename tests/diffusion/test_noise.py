from __future__ import annotations

import hashlib

import numpy as np
import pytest

from geodiff.diffusion.noise import NOISE_VERSION, philox4x32, plane
from geodiff.window import Window

ONES = (0xFFFFFFFF,) * 4


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (ONES, ONES[:2], (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    c0, c1, c2, c3 = (np.array([word], np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox4x32((c0, c1, c2, c3), key)) == expected


def test_normals_are_box_muller_of_the_words() -> None:
    """The portable logarithm, sine and cosine agree with numpy's, also on the widest words."""
    from geodiff.diffusion.noise import _box_muller

    edges = [0, 1, (1 << 29) - 1, 1 << 29, 3 << 29, 5 << 29, 7 << 29, (1 << 32) - 1]
    first, second = (a.ravel() for a in np.meshgrid(edges, edges))
    spread = np.arange(0, 1 << 32, 99991, dtype=np.uint64)
    first = np.concatenate([first.astype(np.uint64), spread])
    second = np.concatenate([second.astype(np.uint64), spread[::-1]])
    u, v = (first + 0.5) / 2**32, (second + 0.5) / 2**32
    radius = np.sqrt(-2 * np.log(u))
    x, y = _box_muller(first, second)
    np.testing.assert_allclose(x, radius * np.cos(2 * np.pi * v), rtol=0, atol=1e-14)
    np.testing.assert_allclose(y, radius * np.sin(2 * np.pi * v), rtol=0, atol=1e-14)


def test_overlapping_windows_agree_to_the_bit() -> None:
    a, b = Window(-7, -40, 30, 71), Window(5, -13, 43, 29)
    common = a.intersect(b)
    assert common is not None
    first = plane(3, a, 6, "start")[:, *common.within(a)]
    second = plane(3, b, 6, "start")[:, *common.within(b)]
    assert first.tobytes() == second.tobytes()


def test_row_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(-2, 9, 23, 17)
    whole = plane(1, window, 5, "start")
    monkeypatch.setattr("geodiff.diffusion.noise._BLOCK", 40)
    assert plane(1, window, 5, "start").tobytes() == whole.tobytes()


def test_more_channels_extend_the_same_noise() -> None:
    window = Window(0, 0, 4, 5)
    assert np.array_equal(plane(1, window, 7, "start")[:3], plane(1, window, 3, "start"))


def test_moments_are_those_of_a_standard_normal() -> None:
    values = plane(0, Window(-128, -128, 256, 256), 4, "start").astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 5 / n**0.5
    assert abs(values.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((values**3).mean()) < 5 * (15 / n) ** 0.5
    assert abs((values**4).mean() - 3) < 5 * (96 / n) ** 0.5
    assert 4.2 < abs(values).max() < 6.8


def test_distribution_is_normal() -> None:
    from scipy.stats import kstest

    for channel in plane(5, Window(-50, 1000, 100, 100), 5, "start"):
        assert kstest(channel.ravel(), "norm").pvalue > 1e-4


def test_neighbours_channels_purposes_steps_and_seeds_are_independent() -> None:
    window = Window(0, 0, 128, 128)
    base = plane(0, window, 5, "start")
    others = [
        *base[1:],
        np.roll(base[0], 1, axis=0),
        np.roll(base[0], 1, axis=1),
        base[0].T,
        plane(0, window, 1, "renoise")[0],
        plane(0, window, 1, "start", step=1)[0],
        plane(0, window, 1, "start", step=-1)[0],
        plane(1, window, 1, "start")[0],
        plane(-(10**30), window, 1, "start")[0],
    ]
    for other in others:
        assert abs(float((base[0] * other).mean())) < 5 / 128


def test_seed_step_and_purpose_never_run_together() -> None:
    window = Window(0, 0, 2, 2)
    assert not np.array_equal(plane(1, window, 1, "2", 3), plane(1, window, 1, "3 2", 0))
    assert not np.array_equal(plane(11, window, 1, "a", 1), plane(1, window, 1, "a", 11))


def test_bits_belong_to_the_noise_version() -> None:
    """If this fails the noise has changed: raise NOISE_VERSION and pin the new digest."""
    values = plane(2024, Window(-3, -5, 11, 13), 6, "start", step=2)
    assert values.dtype == np.float32
    assert values.shape == (6, 11, 13)
    digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
    assert (NOISE_VERSION, digest) == (
        1,
        "338507b146c8079ba7815a07c94a5d05c636addf72bd3b9e7c012635caf6e7b3",
    )


@pytest.mark.parametrize(
    ("window", "channels", "match"),
    [
        (Window(0, 0, 1, 1), 0, "at least one channel, got 0"),
        (Window(2**31 - 1, 0, 2, 1), 1, "leaves the noise lattice"),
        (Window(0, -(2**31) - 1, 1, 1), 1, "leaves the noise lattice"),
    ],
)
def test_refuses_what_has_no_noise(window: Window, channels: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        plane(0, window, channels, "start")


def test_the_last_positions_of_the_lattice_have_noise() -> None:
    assert np.isfinite(plane(0, Window(2**31 - 1, -(2**31), 1, 1), 1, "start")).all()
