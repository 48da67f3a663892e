"""Drawing the batch of the next step while the device works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Calls ``draw(step)``, a pure function, one step ahead in a thread if ``enabled``.

    Worth it where a GPU does the rest; on a CPU both would fight for the same cores.
    """

    def __init__(self, draw: Callable[[int], T], enabled: bool) -> None:
        self.draw = draw
        self.pool = ThreadPoolExecutor(1) if enabled else None
        self.next: tuple[int, Future[T]] | None = None

    def __call__(self, step: int) -> T:
        """The batch of ``step``."""
        if self.pool is None:
            return self.draw(step)
        known = self.next is not None and self.next[0] == step
        batch = self.next[1].result() if self.next and known else self.draw(step)
        self.next = step + 1, self.pool.submit(self.draw, step + 1)
        return batch
