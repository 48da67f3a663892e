"""The workers of a Dask cluster while a job runs, and what its user is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


def hired(workers: int) -> tuple[str, ...]:
    """A note on processes that are about to start here; none for a cluster that runs already."""
    if not workers:
        return ()
    many = "1 worker process" if workers == 1 else f"{workers} worker processes"
    return (f"starting {many}: the first pixels come when the model is loaded there",)


class Crew:
    """The workers of a cluster as they come and go."""

    def __init__(self, client: Client) -> None:
        """Those that are connected now are known."""
        self.client = client
        self.known = set(client.nthreads())

    def threads(self) -> int:
        """Threads of all workers, at least 1, so that tasks wait for a worker that comes back."""
        return max(1, sum(map(int, self.client.nthreads().values())))

    def notes(self) -> tuple[str, ...]:
        """Who was lost since the last call, and whether anybody is left; scheduler's addresses."""
        here = set(self.client.nthreads())
        lost, self.known = sorted(self.known - here), here
        if not here:
            return (*map(ended, lost), "no worker is connected: waiting")
        return tuple(ended(name) for name in lost)


def ended(address: str) -> str:
    """The note on a worker that is gone."""
    return f"the worker at {address} ended: another makes again what it was making"
