"""Errors of a reconstruction: by pixel, by colour, by local contrast and by place in a latent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from geodiff.jobs.training.config import CodecConfig


def codec_loss(
    config: CodecConfig,
    made: torch.Tensor,
    real: torch.Tensor,
    latents: torch.Tensor,
) -> tuple[torch.Tensor, Mapping[str, float]]:
    """The weighted sum of errors, images (batch, 3, row, col) in -1..1, with its figures."""
    error = made - real
    squared = error.square().mean()
    total = error.abs().mean() + config.l2 * squared
    total = total + config.latent_penalty * latents.square().mean()
    if config.chroma > 0:
        colour = error[:, ::2] - error[:, 1:2]  # red and blue against green
        total = total + config.chroma * colour.abs().mean()
    if config.gradient > 0:
        steps = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        total = total + config.gradient * steps
    if config.texture > 0:
        total = total + config.texture * texture_distance(made, real)
    psnr = -10 * torch.log10(squared.detach() / 4)
    return total, {"psnr": float(psnr)}


def texture_distance(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of local contrast over three octaves, a scalar.

    Images are (batch, channel, row, col). An octave is the image less its mean over 3 x 3 pixels,
    after halving the image for the coarser ones; contrast is the root of its mean square over 7 x 7
    pixels. A blurred copy has too little of it wherever the waves lie, which errors that compare
    pixel by pixel reward.
    """
    total, octaves = made.new_zeros(()), 3
    for octave in range(octaves):
        if octave:
            made, real = (functional.avg_pool2d(image, 2) for image in (made, real))
        contrasts = []
        for image in (made, real):
            waves = image - functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
            power = functional.avg_pool2d(waves.square(), 7, 1, 3, count_include_pad=False)
            contrasts.append((power + 1e-5).sqrt())
        total = total + (contrasts[0] - contrasts[1]).abs().mean() / octaves
    return total


def mesh_distance(made: torch.Tensor, real: torch.Tensor, factor: int) -> torch.Tensor:
    """Mean absolute error of what repeats with every latent, a scalar.

    Images are (batch, channel, row, col), cut at latents; ``factor`` is pixels per latent. Errors
    at the same place in a latent are averaged over squares of 8 x 8 latents (what is left over at
    an image's end is not looked at; in a smaller image, over all of it): chance cancels out, and
    what stays is a pattern that the decoder paints into each latent, a mesh in the picture.
    """
    error = made - real
    rows, cols = (side // factor for side in error.shape[-2:])
    group = min(8, rows, cols)
    error = error[..., : rows // group * group * factor, : cols // group * group * factor]
    batch, bands, height, width = error.shape
    side = group * factor
    squares = error.reshape(
        batch, bands, height // side, group, factor, width // side, group, factor
    )
    return squares.mean((3, 6)).abs().mean()
