"""Large, seamless, synthetic aerial mosaics for any box on the map: the public names."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geodiff.errors import GeodiffError
    from geodiff.geo.embeddings import EmbeddingGrid
    from geodiff.geo.grid import PixelGrid
    from geodiff.jobs.batch import batch
    from geodiff.jobs.batches.request import BatchRequest
    from geodiff.jobs.embed import embed
    from geodiff.jobs.imagine import imagine
    from geodiff.jobs.mix import combine, mix
    from geodiff.jobs.prepare import prepare
    from geodiff.jobs.request import SynthesizeRequest
    from geodiff.jobs.synthesize import plan, synthesize
    from geodiff.models.bundle import Model
    from geodiff.steps import Step
    from geodiff.window import Window

    __version__: str
    load = Model.load

# Importing geodiff costs nothing: a name's module is imported when the name is first used.
_HOMES = {
    "BatchRequest": "geodiff.jobs.batches.request:BatchRequest",
    "EmbeddingGrid": "geodiff.geo.embeddings:EmbeddingGrid",
    "GeodiffError": "geodiff.errors:GeodiffError",
    "PixelGrid": "geodiff.geo.grid:PixelGrid",
    "Step": "geodiff.steps:Step",
    "SynthesizeRequest": "geodiff.jobs.request:SynthesizeRequest",
    "Window": "geodiff.window:Window",
    "batch": "geodiff.jobs.batch:batch",
    "combine": "geodiff.jobs.mix:combine",
    "embed": "geodiff.jobs.embed:embed",
    "imagine": "geodiff.jobs.imagine:imagine",
    "load": "geodiff.models.bundle:Model.load",
    "mix": "geodiff.jobs.mix:mix",
    "plan": "geodiff.jobs.synthesize:plan",
    "prepare": "geodiff.jobs.prepare:prepare",
    "synthesize": "geodiff.jobs.synthesize:synthesize",
}

__all__ = [
    "BatchRequest",
    "EmbeddingGrid",
    "GeodiffError",
    "PixelGrid",
    "Step",
    "SynthesizeRequest",
    "Window",
    "__version__",
    "batch",
    "combine",
    "embed",
    "imagine",
    "load",
    "mix",
    "plan",
    "prepare",
    "synthesize",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name == "__version__":
        from geodiff.geo.provenance import software_version

        value: Any = software_version()  # the installed distribution's, which pyproject.toml sets
    elif name in _HOMES:
        module, _, path = _HOMES[name].partition(":")
        value = attrgetter(path)(import_module(module))
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
