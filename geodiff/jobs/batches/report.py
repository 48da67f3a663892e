"""What came of every unit, for machines (report.json) and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from geodiff.geo.stac_items import Unusable
from geodiff.geo.static_collection import ITEMS
from geodiff.jobs.batches.sharing import Outcome
from geodiff.jobs.batches.units import Unit

REPORT = "report.json"

KEPT, MADE, FAILED, WAITING = "kept", "made", "failed", "waiting"
"""What a unit is: done by a former run, made by this one, given up, not yet tried."""


@dataclass
class Report:
    """Rows of units and of items that cannot become units; changes as units are worked off."""

    command: str
    began: str  # ISO 8601
    rows: dict[str, dict[str, Any]]  # by the name of a unit
    unusable: tuple[Unusable, ...] = ()
    published: list[str] = field(default_factory=list)  # ids that the API took
    held: list[str] = field(default_factory=list)  # ids of those that it had, as they are
    unpublished: dict[str, str] = field(default_factory=dict)  # those that it did not, and why
    finished: str | None = None

    @classmethod
    def of(
        cls,
        units: Sequence[Unit],
        kept: Collection[str],
        unusable: Sequence[Unusable],
        command: str,
        began: str,
    ) -> Report:
        """A report in which all units but those in ``kept`` wait."""
        rows: dict[str, dict[str, Any]] = {}
        for unit in units:
            done = unit.name in kept
            rows[unit.name] = {
                "unit": unit.name,
                "source": unit.facts["source"],
                "variant": unit.variant,
                "state": KEPT if done else WAITING,
                "item": f"{ITEMS}/{unit.name}.json" if done else None,
            }
        return cls(command, began, rows, tuple(unusable))

    def note(self, outcome: Outcome) -> None:
        """Enter what came of a unit."""
        row, made = self.rows[outcome.unit.name], outcome.made
        row["attempts"] = outcome.attempts
        if made is None:
            row |= {"state": FAILED, "reason": outcome.reason}
        else:
            row |= {"state": MADE, "item": f"{ITEMS}/{outcome.unit.name}.json",
                    "seconds": round(made.seconds, 2)}  # fmt: skip

    @property
    def counts(self) -> dict[str, int]:
        """How many units are of which state, and how many items cannot be used."""
        states = Counter(row["state"] for row in self.rows.values())
        return {
            "units": len(self.rows) + len(self.unusable),
            "made": states[MADE],
            "kept": states[KEPT],
            "failed": states[FAILED] + len(self.unusable),
            "waiting": states[WAITING],
        }

    @property
    def failures(self) -> list[dict[str, Any]]:
        """What is not there, and why: items that cannot be used, then units that failed."""
        items = [
            {"unit": None, "source": one.name, "state": FAILED, "reason": one.reason}
            for one in self.unusable
        ]
        return items + [row for row in self.rows.values() if row["state"] == FAILED]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        others = [row for row in self.rows.values() if row["state"] != FAILED]
        return {
            "command": self.command,
            "began": self.began,
            "finished": self.finished,
            **self.counts,
            "published": len(self.published),
            "published_before": len(self.held),
            "unpublished": [
                {"item": name, "reason": reason} for name, reason in self.unpublished.items()
            ],
            "rows": [*self.failures, *others],
        }
