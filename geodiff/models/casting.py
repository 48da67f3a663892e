"""Moving a network to another precision, device or memory layout."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

Net = TypeVar("Net")


def cast(
    net: Net,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    channels_last: bool = False,
) -> Net:
    """The same network, changed in place, in ``dtype``, on ``device``, in channels-last layout.

    Goes through ``nn.Module.to``, because the override in diffusers warns at every change of
    precision.
    """
    module: Any = net
    move: Any = nn.Module.to
    if dtype is not None:
        move(module, dtype=dtype)
    if device is not None:
        move(module, device=device)
    if channels_last:
        move(module, memory_format=torch.channels_last)
    return net
