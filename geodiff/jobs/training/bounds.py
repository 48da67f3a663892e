"""Which numbers a configuration of training takes; a key means the same in every kind of run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from geodiff.errors import UsageError

LARGEST = 2**40
"""Above any count and weight that is meant; seeds are multiplied before they reach torch."""

COUNTS = (
    *("steps", "batch", "save_every", "log_every", "samples", "crop", "channels", "cell", "dim"),
    *("window", "field_channels", "layers", "width", "depth", "heads", "wordings"),
)
AMOUNTS = (
    *("warmup", "weight_decay", "seed", "sample_every", "large_every", "shift", "noise", "colour"),
    *("l2", "chroma", "gradient", "feature", "texture", "mesh", "embedding", "adversarial"),
    *("latent_penalty", "invariance", "variance", "covariance", "embedding_noise"),
)

Rule = tuple[Sequence[str], str, Callable[[float], bool]]
RULES: tuple[Rule, ...] = (
    (COUNTS, "at least 1 and at most 2**40", lambda value: 1 <= value <= LARGEST),
    (AMOUNTS, "at least 0 and at most 2**40", lambda value: 0 <= value <= LARGEST),
    (("learning_rate",), "above 0 and finite", lambda value: 0 < value < float("inf")),
    # 0 would stop every step, and below 0 they would lead upwards; infinity does not clip.
    (("clip",), "above 0", lambda value: value > 0),
    (("decay", "null", "null_label", "patchy"), "in 0..1", lambda value: 0 <= value <= 1),
    (("ema", "dropout"), "in 0..1, below 1", lambda value: 0 <= value < 1),
)
"""Keys, what their numbers must be, in words and as a test that "not a number" fails."""

GROUPS, HEAD = 16, 32
"""Channels that a denoiser's norms and heads of attention take together."""


def check_numbers(config: Any) -> None:
    """Raises UsageError for a number that no run can mean."""
    for names, words, test in RULES:
        for name in names:
            value = getattr(config, name, None)
            if value is not None and not test(value):
                raise UsageError(f"{name} {value} must be {words}")


def check_widths(widths: Sequence[int]) -> None:
    """Raises UsageError unless the levels of a denoiser have room for its norms and attention."""
    odd = [width for width in widths if width < GROUPS or width % GROUPS]
    if odd or not widths or widths[-1] < HEAD:
        raise UsageError(
            f"widths {tuple(widths)} must be one or more multiples of {GROUPS}, the last one at "
            f"least {HEAD}"
        )


def check_strides(widths: Sequence[int], channels: int) -> None:
    """Raises UsageError unless a codec's neighbouring widths and its latents share channels.

    Its shortcuts average or repeat whole groups of them; where the stride doubles, four pixels
    become the channels of one.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise UsageError(f"widths {tuple(widths)} must be two or more numbers from 1")
    odd = [(near, far) for near, far in pairwise(widths) if far % 4 or 4 * near % far]
    if odd:
        raise UsageError(
            f"widths {tuple(widths)}: {odd[0][1]} comes after {odd[0][0]}: it must be a multiple "
            f"of 4 that divides {4 * odd[0][0]}"
        )
    if widths[-1] % channels:
        raise UsageError(f"channels {channels} must divide the last of the widths {tuple(widths)}")


def check_layers(name: str, layers: Sequence[int], widths: Sequence[int]) -> None:
    """Raises UsageError unless there is a number of blocks for each of a codec's widths.

    Between the first and the last there must be one, where the stride changes.
    """
    short = len(layers) != len(widths)
    if short or min(layers) < 0 or min((*layers[1:-1], 1)) < 1:
        raise UsageError(
            f"{name} {tuple(layers)} must be {len(widths)} numbers, one for each of the widths "
            f"{tuple(widths)}: at least 0 for the first and the last, at least 1 between them"
        )
