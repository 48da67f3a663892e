"""Evaluation end to end on a tiny model, and what its figures must obey."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from geodiff.errors import DataError
from geodiff.jobs.dataset import PatchSet
from geodiff.jobs.evaluate import Report, evaluate
from geodiff.models.bundle import Model
from geodiff.steps import drain
from tests.tiny import tiny_model


def patch_set(folder: Path, val: int) -> PatchSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    table = gpd.GeoDataFrame(
        {"split": ["val"] * val + ["train"] * (24 - val), "gsd": [0.6] * 24},
        geometry=[None] * 24,
        crs="EPSG:4326",
    )
    return PatchSet(pixels, table, folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(tiny_model(tmp_path_factory.mktemp("tiny") / "model"), precision="fp32")


def test_a_report_is_complete_repeatable_and_within_its_bounds(model: Model, tmp_path: Path):
    patches = patch_set(tmp_path, 12)
    report = drain(evaluate(model, patches, steps=2))
    assert isinstance(report, Report)
    assert report == drain(evaluate(model, patches, steps=2))
    assert report != drain(evaluate(model, patches, steps=2, seed=99))
    assert report.patches == 12
    assert report.cells == 12 * 16
    assert -1 <= report.similarity <= 1
    assert report.frechet >= 0
    assert report.kernel_spread > 0
    assert report.detail_codec > 0
    assert all(np.isfinite(v) for v in report.as_dict().values() if isinstance(v, float))


def test_limit_takes_fewer_patches(model: Model, tmp_path: Path):
    assert drain(evaluate(model, patch_set(tmp_path, 12), limit=4, steps=1)).patches == 4


def test_too_few_patches_are_refused(model: Model, tmp_path: Path):
    with pytest.raises(DataError, match="0 val patches"):
        drain(evaluate(model, patch_set(tmp_path, 0), steps=1))
