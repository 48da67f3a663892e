"""Models of the hub: pinned, only files that are read, and one line for whatever goes wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from geodiff.errors import ModelError, UsageError
from geodiff.jobs.mosaic.check import check_model
from geodiff.models.bundle import Model
from geodiff.models.hub import HubName, fetch
from tests.hub import Hub, serving

NAME = "hub:lab/fields"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of its own, with an empty cache."""
    with serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield running


def test_a_model_is_fetched_once(hub: Hub, folder: Path, model: Model) -> None:
    hub.add("lab/fields", folder, "main", "v1")
    assert Model.load(NAME, "cpu", "fp32").hash == model.hash
    assert sorted(set(hub.fetched)) == sorted(hub.fetched)  # no file twice
    hub.fetched.clear()
    assert Model.load(f"{NAME}@v1", "cpu", "fp32").hash == model.hash
    assert hub.fetched == []


def test_a_revision_is_what_was_pinned(
    hub: Hub, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newer = Path(shutil.copytree(folder, tmp_path / "newer"))
    toml = (newer / "model.toml").read_text()
    (newer / "model.toml").write_text(toml.replace('"tiny"', '"newer"'))
    old = hub.add("lab/fields", folder, "v1")
    new = hub.add("lab/fields", newer, "main")
    assert Model.load(NAME, "cpu").name == "newer"
    assert Model.load(f"{NAME}@v1", "cpu").name == "tiny"
    assert Model.load(f"{NAME}@{old}", "cpu").name == "tiny"
    caplog.clear()
    with caplog.at_level("INFO", "geodiff.models.hub"):
        assert fetch(NAME).name == new
        fetch(f"{NAME}@{new}")
    assert [record.message for record in caplog.records] == [
        f"model: {NAME} is commit {new} now; @{new} pins it"
    ]


def test_only_what_is_read_is_fetched(hub: Hub, folder: Path, tmp_path: Path) -> None:
    full = Path(shutil.copytree(folder, tmp_path / "full"))
    extra = ("evil.py", "model.ckpt", "codec/weights.bin", "codec/x.fp16.safetensors", "a/b.json")
    for name in extra:
        (full / name).parent.mkdir(exist_ok=True)
        (full / name).write_bytes(b"never")
    (full / "README.md").write_text("a card")
    hub.add("lab/fields", full, "main")
    place = fetch(NAME)
    wanted = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert found == wanted | {"README.md"}
    assert set(hub.fetched) == found


def test_without_the_server_the_cache_serves(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add("lab/fields", folder, "main")
    place = fetch(NAME)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert fetch(f"{NAME}@{commit}") == place
    with pytest.raises(ModelError, match="hub:lab/other cannot be fetched from the hub") as caught:
        fetch("hub:lab/other")
    assert "\n" not in str(caught.value)


def test_what_the_hub_does_not_give_is_said_in_one_line(hub: Hub, folder: Path) -> None:
    hub.add("lab/fields", folder, "main")
    hub.gated.add("lab/gated")
    for name, words in (
        ("hub:lab/nothing", "no such repository, or it is private"),
        ("hub:lab/fields@v9", "it has no such revision"),
        ("hub:lab/gated", "agree to their terms"),
    ):
        with pytest.raises(ModelError, match=f"{name} cannot be fetched from the hub: .*{words}"):
            fetch(name)


@pytest.mark.parametrize("card", [True, False])
def test_a_repository_without_a_model(hub: Hub, tmp_path: Path, card: bool) -> None:
    (tmp_path / "other").mkdir()
    if card:
        (tmp_path / "other" / "README.md").write_text("weights: model.ckpt")
    (tmp_path / "other" / "model.ckpt").write_bytes(b"never")
    hub.add("lab/other", tmp_path / "other", "main")
    with pytest.raises(ModelError, match=r"hub:lab/other holds no model .*geodiff import"):
        fetch("hub:lab/other")
    assert "model.ckpt" not in hub.fetched


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hub:org/name", ("org/name", None)),
        ("hub:a-b/c.d_e@v1.0", ("a-b/c.d_e", "v1.0")),
        ("hub:org/name@refs/pr/1", ("org/name", "refs/pr/1")),
    ],
)
def test_names(name: str, parts: tuple[str, str | None]) -> None:
    found = HubName.of(name)
    assert (found.repository, found.revision) == parts
    check_model(name)


@pytest.mark.parametrize(
    "name", ["hub:", "hub:name", "hub:a/b/c", "hub:../etc", "hub:a/b@", "hub:a/b@../x", "hub:a b/c"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="names no model of the hub: write hub:org/name"):
        check_model(name)
