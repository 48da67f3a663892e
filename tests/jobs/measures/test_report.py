"""Reports stand alone: every picture is inside, every source and figure is named."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rasterio.io import MemoryFile

from geodiff.errors import OutputError, UsageError
from geodiff.geo.source import quiet
from geodiff.jobs.evaluate import EvaluateRequest, Outcome, evaluate
from geodiff.jobs.measures import tabulate
from geodiff.jobs.measures.pictures import curves, inline
from geodiff.jobs.measures.report import check_report, write_report
from geodiff.steps import drain
from tests.jobs.rasters import texture


@pytest.fixture(scope="module")
def outcome(folder: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    other = shutil.copytree(folder, tmp_path_factory.mktemp("other") / "other")
    facts = (other / "model.toml").read_text()
    (other / "model.toml").write_text(facts.replace("guidance = 1.5", "guidance = 1.2"))
    return drain(
        evaluate(
            EvaluateRequest(
                (str(dataset),),
                model=str(folder),
                against=str(other),
                limit=5,
                steps=1,
                megapixels=128**2 / 1e6,
                features=("encoder",),
                device="cpu",
            )
        )
    )


class Tags(HTMLParser):
    """Counts elements and remembers where images come from."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]


def test_a_page_with_tables_curves_and_pictures_and_nothing_from_elsewhere(
    outcome: Outcome, tmp_path: Path
) -> None:
    path = write_report(outcome, str(tmp_path / "out"))
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "report.json"]
    text = path.read_text(encoding="utf-8")
    page = Tags()
    page.feed(text)
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    # 12 patches as real, codec, synthetic, other; 4 pairs of nearest; real, synthetic, other scene
    assert len(page.sources) == 12 * 4 + 4 * 2 + 3
    assert page.names.count("table") == 5
    assert "svg" in page.names
    assert "Fréchet (own encoder)" in text
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["model"] == outcome.ours.model


def test_one_file_when_it_is_named(outcome: Outcome, tmp_path: Path) -> None:
    assert write_report(outcome, str(tmp_path / "a.html")) == tmp_path / "a.html"
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_what_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.html"):
        check_report(str(tmp_path / "a.png"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"no folder"):
        check_report(str(tmp_path / "file"))
    with pytest.raises(OutputError, match="does not exist"):
        check_report(str(tmp_path / "no" / "a.html"))
    check_report(str(tmp_path / "new"))


def test_a_picture_inside_a_page_is_the_picture() -> None:
    image = texture(32, 48)
    found = re.search(r"base64,([^\"]+)", inline(image))
    assert found is not None
    with quiet(), MemoryFile(base64.b64decode(found[1])) as file, file.open() as opened:
        assert opened.driver == "JPEG"
        assert np.abs(opened.read().astype(int) - image).mean() < 6


def test_curves_leave_out_what_is_missing() -> None:
    text = curves({"a<b": [0.0, None, 0.5]}, 0.5, ("x", "y"))
    (points,) = re.findall(r'points="([^"]+)"', text)
    assert len(points.split()) == 2
    assert "a&lt;b" in text


def test_tables_have_a_row_a_source_and_aligned_columns(outcome: Outcome) -> None:
    tables = tabulate.tables(outcome.ours)
    assert len(tables) == 4
    for rows in tables.values():
        lines = tabulate.text(rows).splitlines()
        assert len(lines) == 1 + len(rows)
        start = lines[0].index(list(rows[0])[1])
        assert all(line[start - 2 : start] == "  " for line in lines)
    assert tabulate.spread(None, 1) == ""
    assert tabulate.spread(1.23456, 0.1) == "1.235 ± 0.1"
