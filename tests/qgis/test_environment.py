"""Which geodiff runs, in which environment; the managed one. No QGIS needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from geodiff_qgis import managed
from geodiff_qgis.environment import (
    NotFound,
    Program,
    check_version,
    clean,
    find,
    managed_program,
    removed,
)
from geodiff_qgis.runner import RunError

OF_QGIS = {
    "PYTHONHOME": "/q", "PYTHONPATH": "/q", "PROJ_LIB": "/q", "PROJ_DATA": "/q", "GDAL_DATA": "/q",
    "GDAL_DRIVER_PATH": "/q", "QGIS_PREFIX_PATH": "/q", "VIRTUAL_ENV": "/q",
    "LD_LIBRARY_PATH": "/q", "LD_PRELOAD": "/q", "DYLD_LIBRARY_PATH": "/q",
}  # fmt: skip
OF_THE_USER = {"PATH": "/bin", "HOME": "/h", "HTTPS_PROXY": "p", "AWS_PROFILE": "a", "PROJECT": "x"}


def test_what_belongs_to_qgis_is_not_handed_on() -> None:
    kept = clean({**OF_QGIS, **OF_THE_USER})
    assert kept == {**OF_THE_USER, "PYTHONUTF8": "1"}
    assert removed({**OF_QGIS, **OF_THE_USER}) == tuple(sorted(OF_QGIS))


def program(path: Path) -> str:
    """A file that may be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_order_in_which_geodiff_is_looked_for(tmp_path: Path) -> None:
    chosen, named, made, on_path = (program(tmp_path / name / "geodiff") for name in "abcd")
    environ = {"PATH": str(tmp_path / "d"), "GEODIFF_EXECUTABLE": named}
    assert find(chosen, environ, made) == Program(chosen, "the setting")
    assert find("", environ, made) == Program(named, "GEODIFF_EXECUTABLE")
    del environ["GEODIFF_EXECUTABLE"]
    assert find("", environ, made) == Program(made, "the managed environment")
    assert find("", environ, None) == Program(on_path, "PATH")
    assert find("", environ, str(tmp_path / "gone")).found_by == "PATH"


def test_a_folder_stands_for_the_program_in_it(tmp_path: Path) -> None:
    inside = program(tmp_path / "venv" / "bin" / "geodiff")
    assert find(str(tmp_path / "venv"), {}).path == inside
    assert find(str(tmp_path / "venv" / "bin"), {}).path == inside


def test_what_is_named_but_missing_is_never_passed_over(tmp_path: Path) -> None:
    on_path = {"PATH": str(Path(program(tmp_path / "geodiff")).parent)}
    for told, reason in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "folder", "no geodiff in the folder"),
        (tmp_path / "text", "not a program"),
    ):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "text").write_text("")
        with pytest.raises(NotFound, match=f"{reason}.*install geodiff"):
            find(str(told), on_path)
    with pytest.raises(NotFound, match="not installed where QGIS can find it"):
        find("", {"PATH": str(tmp_path / "folder")}, None, lambda *_, **__: None)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("old", "needs 0.1.0 or newer"), ("other", "is not the geodiff that paints mosaics")],
)
def test_another_or_older_geodiff_is_refused(
    mode: str, reason: str, fake_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GEODIFF", mode)
    with pytest.raises(NotFound, match=reason):
        check_version(Program(fake_program, "PATH"), os.environ)


def test_a_program_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "geodiff"
    broken.write_bytes(b"\x7fELF nothing")
    broken.chmod(0o755)
    with pytest.raises(NotFound, match="does not run"):
        check_version(Program(str(broken), "PATH"), os.environ)


def test_the_version_is_told(fake_program: str) -> None:
    assert check_version(Program(fake_program, "PATH"), os.environ) == "geodiff 0.1.0"


def test_another_requirement_is_another_environment(tmp_path: Path) -> None:
    source = tmp_path / "geodiff"
    source.mkdir()
    (source / "pyproject.toml").write_text("version = 1")
    recipes = [
        managed.Recipe("/usr/bin/python3", (3, 11), "geodiff-mosaic"),
        managed.Recipe("/usr/bin/python3", (3, 12), "geodiff-mosaic"),
        managed.Recipe("/usr/bin/python3", (3, 11), str(source)),
        managed.Recipe("/usr/bin/python3", (3, 11), f"{source}[text]"),
    ]
    folders = {recipe.folder(tmp_path) for recipe in recipes}
    assert len(folders) == 4
    assert folders == {recipe.folder(tmp_path) for recipe in recipes}
    for left_out in (".venv", "datasets"):
        (source / left_out).mkdir()
        (source / left_out / "other.py").write_text("")
    assert folders == {recipe.folder(tmp_path) for recipe in recipes}
    (source / "jobs" / "datasets").mkdir(parents=True)
    part = "jobs/datasets/part.py"
    for name, text in (("pyproject.toml", "version = 2"), (part, "x = 1"), (part, "x = 2")):
        (source / name).write_text(text)
        now = {recipe.folder(tmp_path) for recipe in recipes}
        assert len(folders & now) == 2
        folders = now


@pytest.mark.parametrize("nothing", ["", " ", "--index-url=http://evil"])
def test_a_requirement_that_is_none(nothing: str) -> None:
    with pytest.raises(managed.SetupError, match="choose what to install"):
        managed.Recipe("python3", (3, 11), nothing)


def test_only_a_whole_environment_counts(tmp_path: Path) -> None:
    recipe = managed.Recipe(sys.executable, (3, 11), "/src/geodiff")
    inside = program(Path(managed_program(str(recipe.folder(tmp_path)))))
    assert managed.newest_program(tmp_path) is None
    assert not managed.is_whole(recipe, tmp_path)
    managed.finish(recipe, tmp_path)
    assert managed.newest_program(tmp_path) == inside
    assert managed.is_whole(recipe, tmp_path)


def made(root: Path, requirement: str) -> Path:
    """A whole environment as the plugin makes one, without what pip brings."""
    recipe = managed.Recipe(sys.executable, (3, 11), requirement)
    folder = recipe.folder(root)
    program(Path(managed_program(str(folder))))
    (folder / "pyvenv.cfg").write_text("home = /usr/bin")
    managed.finish(recipe, root)
    return folder


def test_only_what_was_made_here_before_and_is_not_used_is_outdated(tmp_path: Path) -> None:
    root = tmp_path / "root"
    former, chosen, runs = (made(root, name) for name in ("a", "b", "c"))
    now = managed.Recipe(sys.executable, (3, 11), "d")
    made(root, "d")
    for name in ("venv-mine", "venv-half", "venv-plain", "other"):
        (root / name).mkdir()
        (root / name / "pyvenv.cfg").write_text("home = /usr/bin")
    (root / "venv-mine" / managed.CARD).write_text('{"hash": "another"}')
    (root / "venv-half" / managed.CARD).write_text("{")
    card = root / "venv-far" / managed.CARD  # one that lies elsewhere
    (root / "venv-far").symlink_to(made(tmp_path / "elsewhere", "e"))
    card.write_text('{"hash": "far"}')
    used = [str(chosen), managed_program(str(runs)), ""]
    assert managed.outdated(now, root, used) == [former]
    assert managed.outdated(now, root) == sorted([former, chosen, runs])


def test_two_at_once_are_refused_and_a_dead_ones_lock_is_taken(tmp_path: Path) -> None:
    refused = pytest.raises(managed.SetupError, match="another QGIS")
    with managed.locked(tmp_path), refused, managed.locked(tmp_path):
        pass
    (tmp_path / "lock").write_text("4194304")  # above the greatest process id of Linux
    with managed.locked(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert not (tmp_path / "lock").exists()


def test_the_interpreter_must_be_new_enough() -> None:
    found = list(managed.pythons({**os.environ, "PATH": os.path.dirname(sys.executable)}))
    assert [version for _, version in found] == [sys.version_info[:2]]


def test_what_a_tool_says_is_heard_on_both_streams() -> None:
    say = "import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr)"
    tool = managed.Tool([sys.executable, "-c", say])
    assert [event.text for event in tool.events() if event] == ["out", "err"]
    with pytest.raises(RunError, match="exit code 3"):
        list(managed.Tool([sys.executable, "-c", "raise SystemExit(3)"]).events())
