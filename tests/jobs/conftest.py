"""A tiny model and a tiny data set, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from geodiff.models.bundle import Model
from tests.jobs.rasters import make_dataset
from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the tiny model; never written to."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model(folder: Path) -> Model:
    """The tiny model in single precision on the CPU; never changed."""
    return Model.load(folder, device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 patches of 64 px from 12 places."""
    return make_dataset(tmp_path_factory.mktemp("dataset"))
