"""Gaussian noise as a pure function of (seed, purpose, step) and the position on the lattice.

A counter-based generator (Philox4x32-10) has no state: the value at a cell depends neither on the
box that was asked for nor on batches, workers or devices. The normals are built from additions,
multiplications, divisions and square roots of float64 alone, which IEEE 754 rounds alike
everywhere, so the bits do not depend on the processor or on the versions of its libraries either.
"""

from __future__ import annotations

import math
import operator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from geodiff.window import Window

# Part of the key and written into every mosaic's tags: raise it whenever a single bit changes.
NOISE_VERSION = 1

_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_BLOCK = 1 << 16  # cells computed at once: keeps the temporaries at a few MiB
_LN2 = 0.6931471805599453

# Taylor coefficients, lowest power first: atanh(s)/s in s**2; cos(a) and sin(a)/a in a**2.
_ATANH = tuple(1 / (2 * k + 1) for k in range(11))
_COS = tuple((-1) ** k / math.factorial(2 * k) for k in range(9))
_SIN = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))

_Words = NDArray[np.uint64]
_Floats = NDArray[np.float64]


def plane(
    seed: int, window: Window, channels: int, purpose: str, step: int = 0
) -> NDArray[np.float32]:
    """Independent N(0, 1) values for a lattice window, float32 (channels, height, width).

    The value of a cell is a function of ``(seed, purpose, step)``, its lattice row, its lattice
    column and its channel only, so overlapping windows agree to the bit. ``seed`` and ``step`` may
    be any integers. Beyond the result, memory is bounded. Raises ValueError if ``channels`` is
    below 1 or the window leaves the lattice of signed 32 bit positions.
    """
    if channels < 1:
        raise ValueError(f"noise needs at least one channel, got {channels}")
    low, high = -(1 << 31), 1 << 31
    if min(window.row, window.col) < low or max(window.bottom, window.right) > high:
        raise ValueError(f"{window} leaves the noise lattice of positions {low} to {high - 1}")
    key = _key(seed, purpose, step)
    noise = np.empty((channels, window.height, window.width), np.float32)
    cols = _words(window.col, window.right)[None, :]
    height = max(1, _BLOCK // window.width)
    for top in range(0, window.height, height):
        bottom = min(top + height, window.height)
        rows = _words(window.row + top, window.row + bottom)[:, None]
        for first in range(0, channels, 4):
            block = np.full((1, 1), first // 4, np.uint64)
            words = philox4x32((rows, cols, block, np.zeros_like(block)), key)
            normals = (*_box_muller(*words[:2]), *_box_muller(*words[2:]))
            for channel, values in enumerate(normals[: channels - first], start=first):
                noise[channel, top:bottom] = values
    return noise


def philox4x32(
    counter: tuple[_Words, _Words, _Words, _Words], key: tuple[int, int]
) -> tuple[_Words, _Words, _Words, _Words]:
    """Philox4x32-10: four random 32 bit words per counter, held in uint64 arrays.

    The four counter words are arrays of values below 2**32 that broadcast against each other; the
    key is two such integers. Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2,
    3 (SC 2011).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (right >> _HALF) ^ c1 ^ np.uint64(k0), (left >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = right & _WORD, left & _WORD
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def _key(seed: int, purpose: str, step: int) -> tuple[int, int]:
    # The free text comes last, so no two triples give the same string.
    text = f"geodiff noise {NOISE_VERSION} {operator.index(seed)} {operator.index(step)} {purpose}"
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def _words(start: int, stop: int) -> _Words:
    """Lattice positions as 32 bit words, negative ones in two's complement."""
    return np.arange(start, stop, dtype=np.int64).astype(np.uint64) & _WORD


def _box_muller(first: _Words, second: _Words) -> tuple[_Floats, _Floats]:
    """Two independent normals from two 32 bit words (Box and Muller 1958), float64."""
    radius = np.sqrt(-2.0 * _log((first.astype(np.float64) + 0.5) / 2.0**32))
    cos, sin = _circle(second)
    return radius * cos, radius * sin


def _log(u: _Floats) -> _Floats:
    """Natural logarithm: ln m = 2 atanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2))."""
    mantissa, exponent = np.frexp(u)
    small = mantissa < 0.7071067811865476
    m = np.where(small, 2.0 * mantissa, mantissa)
    s = (m - 1.0) / (m + 1.0)
    result: _Floats = (exponent - small) * _LN2 + 2.0 * s * _polynomial(s * s, _ATANH)
    return result


def _circle(word: _Words) -> tuple[_Floats, _Floats]:
    """Cosine and sine of the angle 2 pi (word + 1/2) / 2**32, reduced exactly to +-pi/4."""
    quarter = (word + np.uint64(1 << 29)) >> np.uint64(30)
    rest = word.astype(np.int64) - (quarter << np.uint64(30)).astype(np.int64)
    angle = (rest + 0.5) * (math.pi / 2.0**31)
    cos, sin = _polynomial(angle * angle, _COS), angle * _polynomial(angle * angle, _SIN)
    odd, turn = (quarter & np.uint64(1)).astype(bool), quarter & np.uint64(3)
    x, y = np.where(odd, sin, cos), np.where(odd, cos, sin)
    return np.where((turn == 1) | (turn == 2), -x, x), np.where(turn >= 2, -y, y)


def _polynomial(x: _Floats, coefficients: tuple[float, ...]) -> _Floats:
    value = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
