"""Dense embedding fields of many crops on a GPU, where numpy would hold it up."""

from __future__ import annotations

import torch

PARALLEL = 1e-2
"""Sine of the angle below which single precision interpolates in a straight line."""


def dense_fields(cells: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """What `latents.crop_fields` gives, in single precision, on the device of ``cells``.

    ``cells`` is (batch, cell row, cell col, feature) of unit vectors, ``where`` (batch, 2, n) are
    positions of rows and columns in cells (0.5 is a centre). Returns (batch, feature, n, n).
    """
    batch = torch.arange(len(cells), device=cells.device)[:, None]
    top, next_top, down = neighbours(where[:, 0], cells.shape[1])
    left, next_left, right = neighbours(where[:, 1], cells.shape[2])
    across = cells.transpose(1, 2)  # (batch, cell col, cell row, feature)
    lines = slerp(across[batch, left], across[batch, next_left], right[:, :, None])
    lines = lines.transpose(1, 2)  # (batch, cell row, n, feature)
    field = slerp(lines[batch, top], lines[batch, next_top], down[:, :, None])
    return field.permute(0, 3, 1, 2)


def neighbours(
    positions: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The cells whose centres come before and after each position, and how far between (0..1)."""
    inside = (positions - 0.5).clamp(0, count - 1)
    before = inside.floor().long().clamp(max=max(count - 2, 0))
    return before, (before + 1).clamp(max=count - 1), inside - before


def slerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """`geo.slerp.slerp` in single precision: unit vectors (..., feature), ``t`` in 0..1."""
    cosine = (a * b).sum(-1).clamp(-1, 1)
    t = t.to(cosine.dtype).expand_as(cosine)
    angle = cosine.acos()
    sine = angle.sin()
    smooth = sine > PARALLEL
    below = torch.where(smooth, sine, torch.ones_like(sine))
    length = (1 - 2 * t * (1 - t) * (1 - cosine)).clamp(min=0.25).sqrt()
    nearer = (t <= 0.5).to(t.dtype)
    straight = torch.where(cosine < 0, nearer, (1 - t) / length)
    near = torch.where(smooth, ((1 - t) * angle).sin() / below, straight)
    straight = torch.where(cosine < 0, 1 - nearer, t / length)
    far = torch.where(smooth, (t * angle).sin() / below, straight)
    return near[..., None] * a + far[..., None] * b
