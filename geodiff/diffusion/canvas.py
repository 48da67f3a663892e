"""Memory for whole canvases: plain tensors, or files that the system pages in and out."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geodiff.errors import OutputError

IN_MEMORY = 1 << 30
"""Bytes of the largest tensor that is held in memory; a larger one lies in a file."""


def zeros(
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A tensor of zeros that reads and writes alike wherever its values lie.

    On the CPU and above ``IN_MEMORY`` bytes they lie in a file without a name in the folder for
    temporary files (the variable TMPDIR names it), which is gone with the tensor: the system keeps
    in memory what is in use and writes the rest out. Raises OutputError if it has no room for it.
    """
    size = math.prod(shape) * dtype.itemsize
    if torch.device(device).type != "cpu" or size <= IN_MEMORY:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    try:
        with tempfile.TemporaryFile(prefix="geodiff-") as file:
            # Reserved now: later a full disk kills the process in the middle of a page.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            values = np.memmap(file, np.uint8, "r+", shape=(size,))  # keeps the file open
    except OSError as error:
        raise OutputError(
            f"no temporary file of {size / 1e6:.0f} MB in {tempfile.gettempdir()}: "
            f"{error.strerror or error}; make room there, or set TMPDIR to another folder"
        ) from error
    return torch.from_numpy(values).view(dtype).view(tuple(shape))


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the shape, type and device of ``x``."""
    return zeros(x.shape, x.dtype, x.device)
