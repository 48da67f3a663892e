"""A tiny random model, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from geodiff.models.bundle import Model
from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the tiny model; never written to."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    """The tiny model in single precision on the CPU; a module may not change its weights."""
    return Model.load(folder, device="cpu", precision="fp32")
