"""The setup dialog inside QGIS: find, test, and make an environment from a wheel of a fake."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("qgis.core")
pytest.importorskip("pytest_qgis")

from qgis.core import QgsApplication

from geodiff_qgis import managed, settings
from geodiff_qgis.install_task import InstallTask
from geodiff_qgis.setup_dialog import SetupDialog
from tests.qgis.in_qgis import until

FAKE = Path(__file__).with_name("fake_geodiff.py")


@pytest.fixture
def dialog(qgis_app: Any, fake_program: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("executable", "model", "requirement"):
        settings.keep(name, "")
    shown = SetupDialog()
    yield shown
    shown.done(0)
    settings.keep("executable", "")


def wheel(folder: Path, broken: bool = False) -> str:
    """A wheel that brings a program ``geodiff``, as pip wants it, without any dependency."""
    path = folder / "geodiff_mosaic-0.1.0-py3-none-any.whl"
    info = "geodiff_mosaic-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fake_geodiff_mosaic.py", FAKE.read_text("utf-8"))
        needs = "Requires-Dist: no-such-thing-anywhere @ file:///none\n" if broken else ""
        head = f"Metadata-Version: 2.1\nName: geodiff-mosaic\nVersion: 0.1.0\n{needs}"
        archive.writestr(f"{info}/METADATA", head)
        tag = "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        entry = "[console_scripts]\ngeodiff = fake_geodiff_mosaic:main\n"
        archive.writestr(f"{info}/entry_points.txt", entry)
        archive.writestr(f"{info}/RECORD", "")
    return str(path)


def ended(task: InstallTask) -> tuple[Any, str]:
    """Let a task run to its end."""
    ends: list[tuple[Any, str]] = []
    task.ended.connect(lambda facts, error: ends.append((facts, error)))
    QgsApplication.taskManager().addTask(task)
    assert until(lambda: bool(ends), 120)
    return ends[0]


def test_the_dialog_says_what_it_found_and_what_geodiff_answers(
    dialog: Any, fake_program: str
) -> None:
    assert dialog.found.text() == f"{fake_program}, by GEODIFF_EXECUTABLE"
    dialog.test.click()
    assert until(lambda: "geodiff works." in dialog.out.toPlainText())
    assert "devices: cpu" in dialog.out.toPlainText()
    assert until(lambda: dialog.make.isEnabled())
    assert f"program: {fake_program}" in dialog.diagnostics()
    dialog.copy.click()
    assert "Python of QGIS" in QgsApplication.clipboard().text()


def test_another_program_of_that_name_is_told_apart(
    dialog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GEODIFF", "other")
    dialog.test.click()
    assert until(lambda: "is not the geodiff that paints" in dialog.out.toPlainText())


def test_a_setting_that_is_missing_is_said(dialog: Any, tmp_path: Path) -> None:
    dialog.program.setFilePath(str(tmp_path / "none"))
    assert "does not exist" in dialog.found.text()
    assert not dialog.test.isEnabled()
    dialog.program.setFilePath("")
    assert dialog.test.isEnabled()


def test_an_environment_is_made_once_unless_it_broke(qgis_app: Any, tmp_path: Path) -> None:
    root, source = tmp_path / "root", wheel(tmp_path)
    facts, error = ended(InstallTask(source, root))
    assert error == ""
    assert facts["program"] == managed.newest_program(root)
    (card,) = root.glob(f"venv-*/{managed.CARD}")
    made = card.stat().st_mtime_ns
    assert ended(InstallTask(source, root)) == (facts, "")
    assert card.stat().st_mtime_ns == made  # it was there already
    Path(facts["program"]).write_text("#!/gone/python\n")
    assert ended(InstallTask(source, root)) == (facts, "")
    assert card.stat().st_mtime_ns > made
    assert not (root / "lock").exists()


def test_a_newer_environment_replaces_the_former_once_it_works(
    qgis_app: Any, tmp_path: Path
) -> None:
    root, newer = tmp_path / "root", tmp_path / "newer"
    newer.mkdir()
    former, _ = ended(InstallTask(wheel(tmp_path), root))
    _, error = ended(InstallTask(wheel(newer, broken=True), root))
    assert error
    assert managed.newest_program(root) == former["program"]
    now, error = ended(InstallTask(wheel(newer), root))
    assert error == ""
    assert [str(path) for path in root.iterdir()] == [str(Path(now["program"]).parents[1])]


def test_a_failed_installation_leaves_nothing(qgis_app: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    facts, error = ended(InstallTask(wheel(tmp_path, broken=True), root))
    assert facts == {}
    assert "exit code 1" in error
    assert list(root.iterdir()) == []


def test_a_stopped_installation_leaves_nothing(qgis_app: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    task = InstallTask(wheel(tmp_path), root)
    task.heard.connect(lambda line: task.cancel() if line.startswith("Installing") else None)
    assert ended(task) == ({}, "")
    assert list(root.iterdir()) == []
