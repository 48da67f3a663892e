"""Where the model lies that comes with the package; needs none of the networks."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from geodiff.errors import ModelError

SHIPPED = "naip-small"
"""Name of the model that comes with the package."""


def shipped_path() -> Path:
    """Directory of the model in the package. Raises ModelError where the package has none."""
    path = Path(str(files("geodiff"))) / "weights" / SHIPPED
    if not (path / "model.toml").exists():
        raise ModelError(f"this installation ships no model (looked in {path}): give --model DIR")
    return path
