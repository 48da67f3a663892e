"""Hostile files are refused in one line, before anything of theirs has run or been allocated."""

from __future__ import annotations

import random
import socket
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geodiff.errors import DataError
from geodiff.models.foreign.checkpoint import open_checkpoint
from geodiff.models.foreign.project import read_project
from tests.models.foreign.hostile import DATA, HOSTILE, archive, tensor


def test_the_writer_of_hostile_files_can_write_an_honest_one(tmp_path: Path) -> None:
    """Else all of them might be refused for a reason of its own."""
    archive(tmp_path / "a.ckpt", {"state_dict": {"a": tensor()}})
    read = open_checkpoint(tmp_path / "a.ckpt").state["a"].read()
    assert torch.equal(read, torch.tensor([[1.0, 2], [3, 4]]))
    assert torch.equal(read, torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]["a"])
    assert len(HOSTILE) >= 15


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, message = HOSTILE[name]
    path, marker = tmp_path / "a.ckpt", tmp_path / "it-ran"
    write(path, marker)
    monkeypatch.setattr(socket, "socket", None)
    before, known = sorted(tmp_path.iterdir()), set(sys.modules)
    with pytest.raises(DataError, match=message) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert sorted(tmp_path.iterdir()) == before
    assert set(sys.modules) == known


GREEDY = [
    name
    for name in HOSTILE
    if any(word in name for word in ("hundred", "larger", "zeros", "pairs", "for_ever"))
]


@pytest.mark.parametrize("name", GREEDY)
def test_nothing_large_is_allocated(name: str, tmp_path: Path) -> None:
    HOSTILE[name][0](tmp_path / "a.ckpt", tmp_path / "it-ran")
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            open_checkpoint(tmp_path / "a.ckpt")
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()


def test_damaged_numbers_are_refused_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    archive(path, {"a": tensor()})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(DATA, DATA[::-1]))
    found = open_checkpoint(path)
    with pytest.raises(DataError, match="the check sum of a tensor is wrong"):
        found.state["a"].read()


def test_the_files_mean_it(tmp_path: Path) -> None:
    """Read in the ordinary way, what is refused here does run."""
    path, marker = tmp_path / "a.ckpt", tmp_path / "it-ran"
    HOSTILE["system_call"][0](path, marker)
    with pytest.raises(DataError, match="nothing in it was run"):
        open_checkpoint(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("kind", ["archive", "old", "safetensors"])
def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path, kind: str) -> None:
    """Bytes changed, taken out and put in at random: a DataError of one line, or all tensors."""
    path = tmp_path / "a.ckpt"
    if kind == "safetensors":
        save_file({"a": torch.zeros(3, 4), "b": torch.ones(2)}, path)
    else:
        inside = {"state_dict": {"a": torch.zeros(3, 4)}, "epoch": [1, {"b": (2, torch.ones(2))}]}
        torch.save(inside, path, _use_new_zipfile_serialization=kind == "archive")
    whole, chance, messages = path.read_bytes(), random.Random(0), []
    for _ in range(300):
        raw = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 5])):
            place, count = chance.randrange(len(raw)), chance.randrange(4)
            raw[place : place + count] = chance.randbytes(chance.randrange(4))
        path.write_bytes(raw)
        try:
            for tensor in open_checkpoint(path).state.values():
                tensor.read()
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: !!python/object/apply:os.system ['touch it-ran']", "could not determine"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\nmodel: *b", "refers to its own parts"),
        ("model: " + "[" * 20_000, "nested over 32 deep"),
        ("model: [", "while parsing"),
        ("just a text", "is no configuration"),
        ("model:\n  params: {unet_config: 3, first_stage_config: {}}", "is no configuration"),
        ("#" * (2**18 + 1), "is larger than"),
        ("model: 1" + "0" * 10_000, "is no configuration"),
    ],
)
def test_a_hostile_configuration_is_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "project.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_project(path)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [path]
