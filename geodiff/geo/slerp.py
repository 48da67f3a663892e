"""Interpolation on the unit sphere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geodiff.errors import UsageError

Floats = npt.NDArray[np.float64]

# Below this sine of the angle the two weights are 0/0 to rounding.
_PARALLEL = 1e-4


def slerp(a: npt.ArrayLike, b: npt.ArrayLike, t: npt.ArrayLike) -> Floats:
    """Unit vectors float64 (..., feature) on the shortest arc from ``a`` (t = 0) to ``b`` (t = 1).

    ``a``, ``b``: unit vectors (..., feature); ``t`` in 0..1, shaped like their leading axes, or
    broadcast to them. Spherical linear interpolation: sin((1-t) w) / sin w * a + sin(t w) / sin w
    * b, with w the angle between them (Shoemake, "Animating rotation with quaternion curves",
    SIGGRAPH 1985). Nearly parallel vectors: their normalised linear interpolation. Nearly opposite
    ones have no shortest arc: the nearer end, ``a`` at t = 1/2. Exact at both ends.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    near, far = arc_weights((first * second).sum(axis=-1), np.asarray(t, np.float64))
    return near[..., None] * first + far[..., None] * second


def arc_weights(cosine: npt.ArrayLike, t: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Weights of both ends in ``slerp``, from the cosine of their angle."""
    cos, part = np.broadcast_arrays(
        np.clip(np.asarray(cosine, np.float64), -1, 1), np.asarray(t, np.float64)
    )
    angle = np.arccos(cos)
    sine = np.sin(angle)
    smooth = sine > _PARALLEL
    below = np.where(smooth, sine, 1.0)
    near, far = np.sin((1 - part) * angle) / below, np.sin(part * angle) / below
    # |(1-t) a + t b|^2 = 1 - 2 t (1-t) (1 - cos)
    length = np.sqrt(np.maximum(1 - 2 * part * (1 - part) * (1 - cos), 0.25))
    straight = (1 - part) / length, part / length
    nearer = np.where(part <= 0.5, 1.0, 0.0), np.where(part <= 0.5, 0.0, 1.0)
    opposite = cos < 0
    near = np.where(smooth, near, np.where(opposite, nearer[0], straight[0]))
    far = np.where(smooth, far, np.where(opposite, nearer[1], straight[1]))
    return near, far


def between_centres(positions: npt.ArrayLike, count: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """The cell whose centre comes before each position, and how far (0..1) it is to the next.

    ``positions`` are fractions of a cell from the first cell's edge, ``count`` is the number of
    cells. Raises UsageError unless they are a list of finite numbers.
    """
    where = np.atleast_1d(np.asarray(positions, np.float64))
    if where.ndim != 1 or not np.isfinite(where).all():
        raise UsageError("positions in an embedding grid must be a list of finite numbers")
    inside = np.clip(where - 0.5, 0, count - 1)
    before = np.minimum(np.floor(inside).astype(np.intp), max(count - 2, 0))
    return before, inside - before
