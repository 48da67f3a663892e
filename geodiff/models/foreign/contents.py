"""Walking what a pickle held, however its containers are nested and shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from geodiff.errors import DataError
from geodiff.models.foreign.stored import Stored

UNFOLDED = 20_000_000
"""Values of a checkpoint, shared ones counted wherever they appear, at most."""

DEEPEST = 64
"""Containers inside each other, at most."""


def children(value: Any) -> tuple[Any, ...]:
    """What a container holds; keys are plain values and do not count."""
    if isinstance(value, dict):
        return tuple(value.values())
    return tuple(value) if isinstance(value, list | tuple | set) else ()


def check_unfolded(root: Any, source: str) -> None:
    """Raises DataError where containers share each other so often that a walk would never end.

    One pass over the containers, each looked into twice, however often it stands anywhere: what it
    unfolds to is the sum over its children.
    """
    done: dict[int, tuple[int, int]] = {}  # of a container: values when unfolded, depth
    opened: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting[-1]
        if id(value) in done:
            waiting.pop()
            continue
        inside = [child for child in children(value) if isinstance(child, dict | list | tuple)]
        missing = [child for child in inside if id(child) not in done]
        if id(value) not in opened:
            opened.add(id(value))
            waiting += missing
            continue
        if missing:  # all of them were on the way, and none is done: one of them led back here
            raise DataError(f"{source} holds a container that contains itself: refused")
        waiting.pop()
        size = 1 + len(children(value)) + sum(done[id(child)][0] for child in inside)
        depth = 1 + max((done[id(child)][1] for child in inside), default=0)
        if size > UNFOLDED or depth > DEEPEST:
            raise DataError(
                f"{source} nests its containers {depth} deep, unfolding into {size:.0e} values: "
                "refused"
            )
        done[id(value)] = size, depth


def tensors(root: Any) -> Iterator[Stored]:
    """Every tensor in ``root``, each container seen once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Stored):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            waiting += children(value)
