"""Sentences about patches come from templates, labels and tables of facts."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from geodiff.errors import DataError, UsageError
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.training.prompts import Templates, number_texts, read_facts, write_texts

TOML = """
frames = ["{}", "a photo of {}"]
[labels]
lake = ["water", "a lake"]
[datasets]
hills = ["hills"]
[names]
oslo = ["a northern town"]
[[facts]]
column = "trees"
low = 10
high = 20
words = ["many trees"]
"""


def patches(folder: str, **columns: list[object]) -> PatchSet:
    table = gpd.GeoDataFrame(columns, geometry=[None] * len(columns["name"]), crs="EPSG:4326")
    return PatchSet(np.zeros((len(table), 1, 1, 3), np.uint8), table, Path(folder))


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    (tmp_path / "own.toml").write_text(TOML)
    return Templates.read(str(tmp_path / "own.toml"))


def test_the_package_has_words_for_every_label_and_frame() -> None:
    own = Templates.read()
    assert len(own.labels) == 21
    assert all(len(set(words)) == len(words) >= 4 for words in own.labels.values())
    assert all(frame.count("{}") == 1 for frame in own.frames)
    assert all(fact.low < fact.high for fact in own.facts)


def test_a_label_says_it_all(templates: Templates) -> None:
    one = patches(
        "hills", name=["oslo_1", "b"], source=["/x/oslo.tif", "b.tif"], place=["o", "b"],
        label=["lake", "salt marsh"],
    )  # fmt: skip
    texts = write_texts(one, templates, {}, 30, 0)
    known = {"water", "a lake", "a photo of water", "a photo of a lake"}
    assert set(texts[0]) == known
    assert set(texts[1]) == {"salt marsh", "a photo of salt marsh"}


def test_names_facts_and_data_sets_are_joined(templates: Templates) -> None:
    one = patches(
        "hills", name=["oslo_1_0", "b", "c"], source=["/x/oslo_1.tif", "b.tif", "/x/c.tif"],
        place=["o", "b", "c"], label=[None, None, None],
    )  # fmt: skip
    facts = {"oslo_1": {"trees": 12.0}, "c": {"trees": 20.0}}
    texts = write_texts(one, templates, facts, 60, 0)
    assert "hills with many trees" in texts[0]
    assert "a photo of a northern town with many trees" in texts[0]
    assert "many trees" in texts[0]
    assert set(texts[1]) == set(texts[2]) == {"hills", "a photo of hills"}
    assert write_texts(one, templates, facts, 60, 0) == texts
    assert write_texts(one, templates, facts, 60, 1) != texts


def test_nothing_known_gives_no_text(templates: Templates) -> None:
    one = patches("x", name=["a"], source=["a.tif"], place=["a"], label=[None])
    two = patches("hills", name=["b"], source=["b.tif"], place=["b"], label=[None])
    texts = [write_texts(p, templates, {}, 3, 0) for p in (one, two)]
    table, numbers = number_texts(texts, 3)
    assert numbers[0].tolist() == [[-1, -1, -1]]
    assert [table[k] for k in numbers[1][0]] == texts[1][0]


def test_facts_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,trees,town\nx,3,Oslo\n")
    (tmp_path / "b.csv").write_text("name,ndvi\nx,0.5\ny,\n")
    found = read_facts([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert found == {"x": {"trees": 3.0, "ndvi": 0.5}, "y": {}}
    (tmp_path / "c.csv").write_text("id,ndvi\nx,0.5\n")
    for name in ("c.csv", "none.csv"):
        with pytest.raises(DataError, match=name):
            read_facts([str(tmp_path / name)])


@pytest.mark.parametrize(
    "content",
    ["frames = [", "", 'frames = ["{}"]\n[labels]\na = []', 'frames = ["{}"]\n[[facts]]\nx = 1'],
)
def test_templates_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.toml").write_text(content)
    with pytest.raises(UsageError, match=r"bad\.toml"):
        Templates.read(str(tmp_path / "bad.toml"))
    with pytest.raises(UsageError, match=r"cannot read the prompts .*none\.toml"):
        Templates.read(str(tmp_path / "none.toml"))
