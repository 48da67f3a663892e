"""Giving memory back: glibc's heap while GDAL allocates and frees many blocks of many sizes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
_LEAN = 128 * 1024  # glibc's own values at the start of a process
_GROWN = {_TRIM: 64 * 2**20, _MMAP: 32 * 2**20}  # where they drift to as large blocks are freed


@contextmanager
def lean_heap() -> Iterator[None]:
    """Blocks of 128 KiB and more go back to the system as soon as they are freed.

    glibc raises that threshold as a program frees large blocks, which is good for a network that
    asks for the same tensors again and again. GDAL's cache is then kept in a heap full of holes,
    which grows with the raster. Inside, the threshold is fixed; afterwards it is as high as it
    gets. Does nothing where the C library is another.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    _set({_TRIM: _LEAN, _MMAP: _LEAN}, trim=True)
    try:
        yield
    finally:
        _set(_GROWN)


def _set(thresholds: dict[int, int], trim: bool = False) -> None:
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for name, size in thresholds.items():
            library.mallopt(name, size)
        if trim:
            library.malloc_trim(0)
