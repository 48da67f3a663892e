"""Reading a pickle without running it: containers, numbers, texts and tensors, nothing else.

A pickle is a program for a small stack machine, and the original machine imports and calls what
the program names. The one here knows the stack and nothing of Python: a name stays a name, a call
rebuilds a tensor or an ordered dictionary or leaves an inert mark behind.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from geodiff.errors import DataError
from geodiff.models.foreign.rebuild import CALLS, Mark, Name, is_known

CONSTANTS = frozenset({
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "FLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING",
    "BINBYTES", "SHORT_BINBYTES",
})  # fmt: skip
"""Instructions that push their argument."""

WORDS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
}  # fmt: skip

TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

LONGEST = 8 * 2**20
"""Bytes of a pickle, at most; that of a network of 2,000 tensors has half a million."""

MOST = 500_000
"""Instructions of a pickle, at most; a tensor takes about 25."""


@dataclass
class Machine:
    """The stack machine. ``source`` names the file in errors.

    ``persistent`` makes of a persistent identifier of the pickle what it stands for: a storage.
    """

    source: str
    persistent: Callable[[Any], Any]
    stack: list[Any] = field(default_factory=list)
    outer: list[list[Any]] = field(default_factory=list)  # stacks below the marks
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, stream: BinaryIO) -> Any:
        """The value of the pickle that begins in ``stream``, which is left behind its end.

        Raises DataError for damage and for whatever a checkpoint has no need of.
        """
        self.stack, self.outer, self.memo = [], [], {}
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if opcode.name == "STOP":
                    return self.stack.pop()
                if count >= MOST:
                    raise self.refused(f"holds a pickle of over {MOST} instructions: refused")
                self.step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise self.refused(f"is damaged: its pickle breaks off: {reason}") from error
        raise self.refused("is damaged: its pickle has no end")

    def refused(self, reason: str) -> DataError:
        """The error for this file."""
        return DataError(f"{self.source} {reason}")

    def step(self, name: str, argument: Any) -> None:
        """One instruction."""
        stack = self.stack
        if name in CONSTANTS:
            stack.append(argument)
        elif name in WORDS:
            stack.append(WORDS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(self.top(TUPLES[name]))]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name == "MARK":
            self.outer.append(stack)
            self.stack = []
        elif name not in ("PROTO", "FRAME"):
            self.combine(name, argument)

    def combine(self, name: str, argument: Any) -> None:
        """An instruction that makes something of what lies on the stack."""
        if name == "TUPLE":
            values = self.above()
            self.stack.append(tuple(values))
        elif name in ("APPENDS", "ADDITEMS"):
            self.extend(self.above())
        elif name == "APPEND":
            self.extend([self.stack.pop()])
        elif name == "SETITEMS":
            self.fill(self.above())
        elif name == "SETITEM":
            self.fill([self.stack.pop(-2), self.stack.pop()])
        elif name == "GLOBAL":
            self.stack.append(self.named(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            self.stack[-2:] = [self.joined(*self.top(2))]
        elif name in ("REDUCE", "NEWOBJ"):
            self.stack[-2:] = [self.call(*self.top(2))]
        elif name == "NEWOBJ_EX":
            self.stack[-3:] = [self.call(*self.top(3)[:2])]
        elif name == "BUILD":
            self.stack.pop()
            if not isinstance(self.stack[-1], dict | Mark):
                raise self.refused("sets attributes of what is no object: refused")
        elif name == "BINPERSID":
            self.stack[-1] = self.persistent(self.stack[-1])
        else:
            raise self.refused(f"holds the pickle instruction {name}, which is refused")

    def top(self, count: int) -> list[Any]:
        """The topmost values, left where they are."""
        if len(self.stack) < count:
            raise IndexError("too few values on the stack")
        return self.stack[-count:]

    def above(self) -> list[Any]:
        """What lies above the last mark, taken off."""
        values, self.stack = self.stack, self.outer.pop()
        return values

    def joined(self, module: Any, name: Any) -> Name:
        """A name whose halves lie on the stack; anything but texts could be endless to spell."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.refused("names something by what is no text: refused")
        return self.named(f"{module}.{name}")

    def named(self, path: str) -> Name:
        """A name, if it is one that checkpoints hold."""
        if not is_known(path):
            raise self.refused(
                f"asks for {path[:80]!r}, which no checkpoint needs: refused, nothing in it was run"
            )
        return Name(path)

    def call(self, function: Any, arguments: Any) -> Any:
        """What is known is rebuilt; the rest leaves a mark."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise self.refused("calls what is no name: refused")
        rebuild = CALLS.get(function.path)
        try:
            return rebuild(*arguments) if rebuild else Mark(function.path)
        except TypeError as error:
            raise self.refused(f"misuses {function.path}: {error}") from error

    def key(self, value: Any) -> Any:
        """A key of a dictionary: nested ones could take for ever to hash."""
        parts = value if isinstance(value, tuple) and len(value) <= 8 else (value,)
        if not all(isinstance(part, str | int | float | bytes | Name | None) for part in parts):
            raise self.refused("has a dictionary key that is no plain value: refused")
        return value

    def fill(self, pairs: list[Any]) -> None:
        """Put keys and values into the dictionary on the stack."""
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                target[self.key(key)] = value
        elif not isinstance(target, Mark):
            raise self.refused("puts items into what is no dictionary: refused")

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack, or add to the set."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(map(self.key, values))
        elif not isinstance(target, Mark):
            raise self.refused("appends to what is no list: refused")
