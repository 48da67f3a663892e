"""Networks that a configuration describes are never larger than the numbers that come with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from geodiff.models.foreign.stored import Stored

SPARE_TENSORS, SPARE_NUMBERS = 64, 2**22
"""Beyond twice what a file has: for buffers that follow from sizes, and weights made twice."""


@contextmanager
def no_larger_than(stored: Mapping[str, Stored]) -> Iterator[None]:
    """Ends the making of a network of far more, or far larger tensors than ``stored``.

    Configurations are files of strangers: without this, one that asks for a billion layers is
    built until memory ends, even where tensors take none. Raises ValueError, in the making.
    """
    counts = [2 * len(stored) + SPARE_TENSORS]
    numbers = [2 * sum(tensor.count for tensor in stored.values()) + SPARE_NUMBERS]
    maker = get_ident()

    def made(module: nn.Module, name: str, value: Any) -> None:
        if value is None or get_ident() != maker:
            return
        counts[0] -= 1
        numbers[0] -= value.numel()
        if min(counts[0], numbers[0]) < 0:
            raise ValueError(
                f"its configuration describes a far larger network than the {len(stored)} tensors "
                "of its weights"
            )

    hooks = [
        register_module_parameter_registration_hook(made),
        register_module_buffer_registration_hook(made),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
