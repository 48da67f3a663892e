"""Calls of a network beside each other on the cores of a CPU, their answers in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST = 8
"""Calls at a time: each holds the features of a batch, some ten megabytes."""


def lanes_on(device: torch.device, batch: int) -> int:
    """How many calls at a time are best there: on a CPU one for each thread, at most MOST.

    The threads of one call wait for each other at every operation; calls do not. Odd batches in
    bfloat16 differ in the last bits with the number of threads: for them it is one call.
    """
    if device.type != "cpu" or batch % 2:
        return 1
    return min(MOST, torch.get_num_threads())


def in_order(call: Callable[[Item], Answer], items: Sequence[Item], lanes: int) -> Iterator[Answer]:
    """What ``map(call, items)`` gives, from up to ``lanes`` calls at a time.

    The calls share torch's threads evenly, and run at most two times ``lanes`` ahead of the answer
    that was taken last. An error of a call is raised in its turn, and the calls after it that have
    not begun are dropped.
    """
    lanes = min(lanes, len(items))
    if lanes < 2:
        yield from map(call, items)
        return
    threads = torch.get_num_threads()
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def run(item: Item) -> Answer:
        # All three are a thread's own.
        torch.set_num_threads(max(1, threads // lanes))
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return call(item)

    pool = ThreadPoolExecutor(lanes, "network")
    waiting: deque[Future[Answer]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(run, item))
            if len(waiting) == 2 * lanes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads that begin later
