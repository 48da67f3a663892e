"""Interpolation on the unit sphere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
