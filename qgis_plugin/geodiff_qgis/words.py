"""Stages and plans of a run in the user's words."""

from __future__ import annotations

from geodiff_qgis.events import Event, duration
from geodiff_qgis.plans import Plan, room
from geodiff_qgis.sources import tr
from geodiff_qgis.wording import PANEL, reworded

STAGES = {
    "load": "Loading the model", "plan": "Planning", "review": "Reading finished charts again",
    "embed": "Looking at the source", "imagine": "Imagining the layout", "paint": "Painting",
    "decode": "Making pixels", "write": "Writing the GeoTIFF", "verify": "Checking the GeoTIFF",
    "done": "Done",
}  # fmt: skip


def stage_words(event: Event) -> str:
    """A stage in words, with the time left where it takes long."""
    name = tr(STAGES.get(event.stage, event.stage))
    if event.seconds_left is None or event.seconds_left < 5 or event.stage == "done":
        return name
    # To half minutes: a text that changes with every line cannot be read.
    left = max(30, round(event.seconds_left / 30) * 30)
    return tr("{}, about {} left").format(name, duration(left))


def in_panel(text: str) -> str:
    """What geodiff says, in the words of the panel."""
    return reworded(text, {name: tr(label) for name, label in PANEL.items()}, tr)


def size_words(plan: Plan) -> str:
    """Pixels, ground and CRS of a plan."""
    return tr("{} x {} px, {:.3g} m a pixel, {}").format(
        f"{plan.width:,}", f"{plan.height:,}", plan.gsd, plan.crs or tr("no CRS")
    )


def cost_words(plan: Plan) -> str:
    """Work, time and room of a plan."""
    work = tr("{} evaluations").format(f"{plan.evaluations:,}")
    if plan.charts > 1:
        work = tr("{} in {} charts").format(work, f"{plan.charts:,}")
    return tr("{}, about {}, {} of memory, up to {} of disk").format(
        work, duration(plan.seconds), room(plan.memory_mb), room(plan.disk_mb)
    )
