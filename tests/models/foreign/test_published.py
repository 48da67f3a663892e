"""Which published model a checkpoint is: told by its layout, its configuration, or the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geodiff.errors import UsageError
from geodiff.models.conditioner import ConditionerSizes
from geodiff.models.foreign.project import Project, read_project
from geodiff.models.foreign.published import KINDS, recognise

PATCH = ConditionerSizes("patch", 768, 512)
PAIR = ConditionerSizes("pair", 384, 512, region=768)


def zoom(levels: int) -> ConditionerSizes:
    return ConditionerSizes(
        "summarizer", 1024, 512, "zscore", levels=levels, layers=12, hidden=512, mlp=2048
    )


def config(path: Path, dataset: str, magnification: str | None = None) -> Project:
    """A project.yaml as short as can be."""
    line = f"magnification: {magnification}" if magnification else "split: train"
    path.write_text(
        "model:\n  params:\n    unet_config: {params: {}}\n    first_stage_config: {params: {}}\n"
        "data:\n  params:\n    train:\n"
        f"      target: ldm.data.{dataset}\n      params: {{config: {{{line}}}}}\n"
    )
    return read_project(path)


def test_the_layout_alone() -> None:
    assert recognise(None, PAIR, Project()) == "brca-20x"
    assert recognise(None, zoom(4), Project()) == "zoomldm-naip"
    assert recognise(None, zoom(8), Project()) == "zoomldm-brca"


def test_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    naip = config(path, "hybrid_cond.naip_ssl.NAIPDataset")
    assert recognise(None, PATCH, naip) == "naip"
    crc = config(path, "hybrid_cond.crc_only_patch.TCGADataset", "20x")
    assert recognise(None, PATCH, crc) == "crc-20x"
    brca = config(path, "hybrid_cond.brca_only_patch.TCGADataset", "5x")
    assert recognise(None, PATCH, brca) == "brca-5x"


def test_what_nothing_tells_has_to_be_said(tmp_path: Path) -> None:
    for project in (Project(), config(tmp_path / "project.yaml", "my.Dataset")):
        with pytest.raises(UsageError, match="may be any of naip, crc-20x, brca-5x: say which"):
            recognise(None, PATCH, project)
    assert recognise("crc-20x", PATCH, Project()) == "crc-20x"
    with pytest.raises(UsageError, match="not of kind brca-20x: its conditioner is a patch"):
        recognise("brca-20x", PATCH, Project())
    with pytest.raises(UsageError, match="kind 'moon' is unknown; choose naip"):
        recognise("moon", PATCH, Project())
    with pytest.raises(UsageError, match="may be any of zoomldm-naip, zoomldm-brca"):
        recognise(None, zoom(5), Project())


def test_all_kinds_can_be_asked_for() -> None:
    kinds: dict[str, Any] = {"patch": PATCH, "pair": PAIR, "summarizer": zoom(4)}
    for name, one in KINDS.items():
        assert recognise(name, kinds[one.kind], Project()) == name
