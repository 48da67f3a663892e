"""How windows cover a canvas of the lattice, how they shift, and how they weigh where they meet."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geodiff.window import Window

# The plastic number, the real root of g**3 = g + 1, which generates the R2 sequence.
_PLASTIC = 1.3247179572447460


def cover(canvas: Window, size: int, stride: int, offset: tuple[int, int]) -> list[Window]:
    """Windows of ``size`` x ``size`` that together cover ``canvas``, sorted by row, then column.

    Their origins are ``n * stride + offset`` (rows, columns) on the lattice, never counted from
    the canvas, so two canvases share their inner windows. Those that stick out are moved just
    inside the canvas, and equal ones are kept once. Raises ValueError unless
    ``1 <= stride <= size`` and the canvas holds a window.
    """
    _check(canvas, size, stride)
    rows = _axis(canvas.row, canvas.bottom, size, stride, offset[0])
    cols = _axis(canvas.col, canvas.right, size, stride, offset[1])
    return [Window(row, col, size, size) for row in rows for col in cols]


def count_windows(canvas: Window, size: int, stride: int, offset: tuple[int, int]) -> int:
    """How many windows ``cover`` gives for the same arguments, without making them.

    Along an axis from a to b (a window fits more than once): ``ceil((b - size - offset) / stride) -
    floor((a - offset) / stride) + 1``; a single one where ``b - a`` is the size of a window.
    """
    _check(canvas, size, stride)
    rows = _count(canvas.row, canvas.bottom, size, stride, offset[0])
    return rows * _count(canvas.col, canvas.right, size, stride, offset[1])


def offsets(step: int, period: int) -> tuple[int, int]:
    """Shift (rows, columns) of the windows at a solver step, each in ``0 .. period - 1``.

    The R2 sequence (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences"):
    ``floor(period * frac(step / g))`` and the same with ``g**2``, g the plastic number. The first
    step is not shifted. Raises ValueError unless ``step >= 0`` and ``period >= 1``.
    """
    if step < 0 or period < 1:
        raise ValueError(f"offsets need step >= 0 and period >= 1, got {step} and {period}")
    row, col = (math.floor(period * (step / _PLASTIC**power % 1.0)) for power in (1, 2))
    return row, col


def tent(size: int) -> Tensor:
    """Weights that fall linearly from the centre of a window: float32 (size, size), all positive.

    Separable, ``1 - 0.999 |x|`` along each axis with x the centres of the cells on [-1, 1]: at a
    stride of half a window the weights of all windows add up to a constant.
    """
    centres = (2 * torch.arange(size, dtype=torch.float64) + 1 - size) / size
    axis = 1 - 0.999 * centres.abs()
    return torch.outer(axis, axis).float()


def uniform(size: int) -> Tensor:
    """Equal weights: float32 ones (size, size)."""
    return torch.ones(size, size)


def gaussian(size: int, width: float = 0.8) -> Tensor:
    """Weights ``exp(-(x^2 + y^2) / width^2)``: float32 (size, size), all positive.

    x and y run from -1 at the first to 1 at the last cell. With a width of 0.8 these are the
    weights with which Graikos et al. 2024 (arXiv:2312.07330) blend decoded windows.
    """
    axis = torch.exp(-torch.linspace(-1, 1, size, dtype=torch.float64).square() / width**2)
    return torch.outer(axis, axis).float()


def _check(canvas: Window, size: int, stride: int) -> None:
    if not 1 <= stride <= size:
        raise ValueError(
            f"a stride of {stride} with windows of {size} leaves gaps or does not move; "
            f"choose a stride from 1 to {size}"
        )
    if canvas.height < size or canvas.width < size:
        raise ValueError(
            f"the canvas of {canvas.height} x {canvas.width} cells is smaller than a window; "
            f"make it at least {size} x {size} cells"
        )


def _axis(start: int, stop: int, size: int, stride: int, offset: int) -> list[int]:
    """Origins along one axis of the windows that meet ``start .. stop - 1``, moved inside it."""
    first = (start - size - offset) // stride + 1  # the first with origin + size > start
    last = (stop - 1 - offset) // stride
    origins = (n * stride + offset for n in range(first, last + 1))
    return sorted({min(max(origin, start), stop - size) for origin in origins})


def _count(start: int, stop: int, size: int, stride: int, offset: int) -> int:
    """Number of origins that ``_axis`` gives."""
    if stop - start == size:
        return 1
    return -((offset + size - stop) // stride) - (start - offset) // stride + 1
