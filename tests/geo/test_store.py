"""Folders and places behind addresses keep files alike."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from geodiff.errors import OutputError
from geodiff.geo.store import Folder, Remote, Store, clear, open_store, sole


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "twins"))
    pytest.importorskip("fsspec")
    return open_store(f"memory://{uuid.uuid4().hex}/twins")


def test_what_is_written_is_there(store: Store, tmp_path: Path) -> None:
    assert store.read("items/a.json") is None
    assert store.sizes("items") == {}
    store.write("items/a.json", "é1")
    store.write("items/a.json", "é2")
    made = tmp_path / "made.tif"
    made.write_bytes(b"12345")
    store.take(made, "items/a.tif")
    assert not made.exists()
    assert store.read("items/a.json") == "é2"
    assert store.sizes("items") == {"items/a.json": 3, "items/a.tif": 5}
    assert (store.local("items/a.tif") is None) == isinstance(store, Remote)


def test_nothing_half_written_bears_a_name(tmp_path: Path) -> None:
    (tmp_path / "collection.json").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        Folder(str(tmp_path)).write("collection.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["collection.json"]


def test_gdals_name_of_a_bucket_is_an_address() -> None:
    pytest.importorskip("s3fs")
    assert open_store("/vsis3/bucket/twins").where == "s3://bucket/twins"


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "twins"
    with sole(folder):
        assert os.listdir(folder)
        with pytest.raises(OutputError, match="another run is writing"), sole(folder):
            pass
    with sole(folder):
        pass
    assert os.listdir(folder) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="is no folder: choose another"), sole(folder):
            pass


def test_leftovers_of_other_requests_go(tmp_path: Path) -> None:
    for name in (".painting-a", ".painting-b", "items"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chart.tif").write_text("")
    clear(tmp_path, tmp_path / ".painting-b")
    assert {path.name for path in tmp_path.iterdir()} == {".painting-b", "items"}
    (tmp_path / ".painting-b" / "chart.tif").unlink()
    clear(tmp_path, tmp_path / ".painting-b")
    assert {path.name for path in tmp_path.iterdir()} == {"items"}
