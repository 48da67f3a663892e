"""What the child says on stderr: lines of progress in JSON, notes, and errors in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SHARES = {
    "load": 3, "plan": 2, "review": 2, "imagine": 6, "embed": 6, "paint": 70, "decode": 10,
    "write": 4, "verify": 3,
}  # fmt: skip
"""Stages in their order, and about which part of a whole run each takes."""


@dataclass(frozen=True)
class Event:
    """One line of the child: progress of a stage with its notes, or words (``stage`` is empty)."""

    stage: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None  # of this stage
    notes: tuple[str, ...] = ()
    text: str = ""


def parse(line: str) -> Event:
    """The event in a line; whatever is no line of progress is an event in words."""
    line = line.strip()
    if line.startswith("{"):
        try:
            facts = json.loads(line)
        except ValueError:
            return Event(text=line)
        if isinstance(facts, dict) and isinstance(facts.get("stage"), str):
            return _progress(facts)
    return Event(text=line)


def _progress(facts: dict[str, Any]) -> Event:
    def whole(name: str) -> int:
        value = facts.get(name)
        return int(value) if isinstance(value, (int, float)) else 0

    left, notes = facts.get("seconds_left"), facts.get("notes")
    return Event(
        stage=facts["stage"],
        done=whole("done"),
        total=whole("total"),
        seconds_left=float(left) if isinstance(left, (int, float)) else None,
        notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
    )


class Progress:
    """Events -> one percentage that never falls, over all stages."""

    def __init__(self) -> None:
        self.percent = 0.0

    def after(self, event: Event) -> float:
        """The percentage, 0 to 100, once this event has come."""
        if event.stage == "done":
            self.percent = 100.0
        elif event.stage in SHARES:
            stages = list(SHARES)
            before = sum(SHARES[name] for name in stages[: stages.index(event.stage)])
            part = min(1.0, event.done / event.total) if event.total > 0 else 0.0
            reached = 100 * (before + SHARES[event.stage] * part) / sum(SHARES.values())
            self.percent = max(self.percent, reached)
        return self.percent


def duration(seconds: float) -> str:
    """Seconds below two minutes, else minutes, hours or days."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    if seconds < 7200:
        return f"{round(seconds / 60)} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
