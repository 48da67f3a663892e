"""The one signature ``(x, sigma) -> clean x`` and the wrappers that keep it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from geodiff.diffusion import canvas as memory
from geodiff.diffusion.blend import count_windows, cover, offsets
from geodiff.diffusion.lanes import in_order
from geodiff.window import Window

Denoise: TypeAlias = Callable[[Tensor, float], Tensor]
"""The clean x expected behind ``x = clean + sigma * noise``; same shape as x."""

Velocity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Rectified flow network: (x_t (batch, channel, row, col), t (batch,)) -> noise - clean."""


@dataclass(frozen=True)
class Precondition:
    """A rectified flow network as a Denoise.

    With ``t = sigma / (1 + sigma)`` and ``x_t = x / (1 + sigma)`` the clean image is
    ``x_t - t v(x_t, t)`` (Liu et al. 2022, arXiv:2209.03003). The network gets t as a tensor
    (batch,) of x's type; its output is brought to x's type before it is used.
    """

    velocity: Velocity

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The clean x, same shape and type as x."""
        t = sigma / (1 + sigma)
        x_t = x / (1 + sigma)
        return x_t - t * self.velocity(x_t, x.new_full((len(x),), t)).to(x.dtype)


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance at the noise levels where it helps, ``lo < sigma <= hi``.

    There the clean x is ``uncond + scale (cond - uncond)`` (Ho and Salimans 2022,
    arXiv:2207.12598), elsewhere ``cond`` alone: guidance in a limited interval (Kynkäänniemi et
    al. 2024, arXiv:2404.07724). A scale of 1 never calls ``uncond``. Raises ValueError if the
    interval is empty.
    """

    cond: Denoise
    uncond: Denoise
    scale: float
    interval: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low < high:
            raise ValueError(f"guidance needs an interval 0 <= lo < hi, got {low} to {high}")

    def active(self, sigma: float) -> bool:
        """Whether both denoisers are called at this noise level."""
        low, high = self.interval
        return self.scale != 1 and low < sigma <= high

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided clean x, same shape as x."""
        cond = self.cond(x, sigma)
        if not self.active(sigma):
            return cond
        uncond = self.uncond(x, sigma)
        return uncond + self.scale * (cond - uncond)


@dataclass(frozen=True)
class Switched:
    """One Denoise where ``lo < sigma <= hi``, another elsewhere.

    Guidance in an interval by a network that was taught it, which needs one call where ``Guided``
    needs two. Raises ValueError if the interval is empty.
    """

    inside: Denoise
    outside: Denoise
    interval: tuple[float, float]

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low < high:
            raise ValueError(f"a switch needs an interval 0 <= lo < hi, got {low} to {high}")

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The clean x, same shape as x."""
        low, high = self.interval
        return (self.inside if low < sigma <= high else self.outside)(x, sigma)


@dataclass(frozen=True, eq=False)
class Windowed:
    """A Denoise of a whole canvas made of overlapping window predictions, fused at every call.

    The result is ``sum(w p) / sum(w)`` over the windows that meet a cell, always added in the order
    of their rows and columns: it does not depend, to the bit, on how windows are batched. x is
    (1, channel, height, width) and covers ``canvas``; fusing and stepping commute, so any solver
    may run on it. Raises ValueError if the parts do not fit together.
    """

    # Binds the conditions of a batch of windows; that Denoise takes (batch, channel, size, size)
    # and may answer in another type or on another device than x.
    at: Callable[[Sequence[Window]], Denoise]
    canvas: Window  # lattice window that x covers, at least size x size
    size: int  # cells along a side of a window
    strides: tuple[int, ...]  # cells between neighbouring windows, for each step; the last goes on
    weights: Tensor  # (size, size), positive, see blend
    sigmas: Tensor  # the solver's decreasing schedule: the place of a sigma in it is its step
    shifted: bool = True  # move the windows by blend.offsets at every step
    batch: int = 4  # windows a network call; the last batch is filled up by repetition
    anchor: tuple[int, int] = (0, 0)  # row, col of the lattice at which an unshifted window begins
    lanes: int = 1  # network calls at a time, see lanes

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"a batch needs at least one window, got {self.batch}")
        if self.weights.shape != (self.size, self.size) or not bool((self.weights > 0).all()):
            raise ValueError(
                f"the weights must be positive and {self.size} x {self.size} like the window, "
                f"got {tuple(self.weights.shape)} with a minimum of {float(self.weights.min())}"
            )
        if not self.strides:
            raise ValueError("the windows need at least one stride")
        for stride in self.strides:  # refuses what cannot cover
            count_windows(self.canvas, self.size, stride, (0, 0))

    def step(self, sigma: float) -> int:
        """Number of the first step of the schedule at or below ``sigma``, from 0."""
        # The tolerance forgives a sigma that went through float32.
        return int((self.sigmas > sigma * (1 + 1e-6)).sum())

    def stride(self, sigma: float) -> int:
        """Cells between the origins of neighbouring windows at ``sigma``."""
        return self.strides[min(self.step(sigma), len(self.strides) - 1)]

    def offset(self, sigma: float) -> tuple[int, int]:
        """Place (row, col) of a window's origin on the lattice; a shift repeats with the stride."""
        row, col = offsets(self.step(sigma), self.stride(sigma)) if self.shifted else (0, 0)
        return self.anchor[0] + row, self.anchor[1] + col

    def windows(self, sigma: float) -> list[Window]:
        """The windows whose predictions a call at ``sigma`` fuses, in the order of fusion."""
        return cover(self.canvas, self.size, self.stride(sigma), self.offset(sigma))

    def evaluations(self, sigma: float) -> int:
        """How many window predictions a call at ``sigma`` makes, without the filling of batches."""
        return count_windows(self.canvas, self.size, self.stride(sigma), self.offset(sigma))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The fused clean x, same shape, type and device as x."""
        if x.ndim != 4 or len(x) != 1 or x.shape[2:] != self.canvas.shape:
            raise ValueError(
                f"x must be (1, channel, {self.canvas.height}, {self.canvas.width}) like the "
                f"canvas, got {tuple(x.shape)}"
            )
        total, norm = memory.zeros_like(x[0]), memory.zeros_like(x[0, 0])
        weights = self.weights.to(x)
        windows = self.windows(sigma)
        groups = [windows[i : i + self.batch] for i in range(0, len(windows), self.batch)]
        predicted = in_order(lambda group: self._predict(x, sigma, group), groups, self.lanes)
        for group, cleans in zip(groups, predicted, strict=True):
            for window, clean in zip(group, cleans, strict=True):
                rows, cols = window.within(self.canvas)
                total[:, rows, cols] += weights * clean
                norm[rows, cols] += weights
        return total.div_(norm)[None]

    def _predict(self, x: Tensor, sigma: float, group: Sequence[Window]) -> Tensor:
        """Clean windows (len(group), channel, size, size) from a call of the constant size."""
        padded = [*group, *[group[-1]] * (self.batch - len(group))]
        slices = [window.within(self.canvas) for window in padded]
        crops = torch.stack([x[0, :, rows, cols] for rows, cols in slices])
        return self.at(padded)(crops, sigma)[: len(group)].to(x)
