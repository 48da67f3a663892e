"""Where the directory of a model lies: a path, the hub's, or the one in the package."""

from __future__ import annotations

from pathlib import Path

from geodiff.models.hub import fetch, is_hub
from geodiff.models.shipped import shipped_path


def locate(model: str | Path | None) -> Path:
    """The directory of a model; None is the one shipped with the package.

    A name such as ``hub:org/name@revision`` is fetched unless it is in the cache. Raises UsageError
    for a name that is none, ModelError where the hub does not give it.
    """
    if model is None:
        return shipped_path()
    if is_hub(model):
        return fetch(str(model))
    return Path(model)
