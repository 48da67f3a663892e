"""A checkpoint of other settings is refused by name; a full disk keeps the former one."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geodiff.errors import DataError, OutputError
from geodiff.jobs.training.checkpoint import check_config, read_state, write_state
from geodiff.jobs.training.config import CodecConfig

CONFIG = CodecConfig(("a", "b"), "run", weights=(0.5, 0.5))
STATE = "state.safetensors"


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def stored(config: CodecConfig) -> dict[str, object]:
    """The configuration as a checkpoint keeps it."""
    return dict(json.loads(json.dumps(vars(config))))


def test_round_trip(tmp_path: Path) -> None:
    write_state(tmp_path / "new", {"a": torch.arange(3)}, 7, CONFIG)
    tensors, step, config = read_state(tmp_path / "new" / STATE)
    assert step == 7
    assert torch.equal(tensors["a"], torch.arange(3))
    assert config == stored(CONFIG)


def test_full_disk_keeps_the_former_checkpoint(tmp_path: Path) -> None:
    write_state(tmp_path, {"a": torch.zeros(10)}, 1, CONFIG)
    with (
        room_for(100_000),
        pytest.raises(OutputError, match=r"cannot write .*state\.safetensors: .*free") as caught,
    ):
        write_state(tmp_path, {"a": torch.ones(1_000_000)}, 2, CONFIG)
    assert "\n" not in str(caught.value)
    assert torch.equal(load_file(tmp_path / STATE)["a"], torch.zeros(10))
    assert {path.name for path in tmp_path.iterdir()} == {STATE, "progress.json"}


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_a_checkpoint_has_the_permissions_of_any_new_file(tmp_path: Path, mask: int) -> None:
    former = os.umask(mask)
    try:
        write_state(tmp_path, {"a": torch.zeros(1)}, 1, CONFIG)
    finally:
        os.umask(former)
    assert (tmp_path / STATE).stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_a_killed_save_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmpzI3s9O").write_bytes(b"half")
    (tmp_path / ".tmp-notes").write_bytes(b"the user's")
    write_state(tmp_path, {"a": torch.zeros(1)}, 1, CONFIG)
    assert {p.name for p in tmp_path.iterdir()} == {STATE, "progress.json", ".tmp-notes"}


def test_keys_that_shape_the_training_are_named(tmp_path: Path) -> None:
    now = replace(CONFIG, batch=8, widths=(8, 8, 16, 16), seed=3)
    with pytest.raises(DataError) as caught:
        check_config(tmp_path, stored(CONFIG), now)
    told = str(caught.value)
    assert "batch was 32, is 8" in told
    assert "seed was 0, is 3" in told
    assert "widths was [16, 32, 128, 256], is [8, 8, 16, 16]" in told
    assert "\n" not in told
    assert "steps" not in told


def test_a_run_may_go_on_longer_slower_and_elsewhere(tmp_path: Path) -> None:
    now = replace(
        CONFIG, run="moved", steps=99_999, learning_rate=1e-5, warmup=1, decay=0.9, clip=0.5,
        save_every=7, log_every=3, device="cpu", sample_every=0, samples=2,
    )  # fmt: skip
    check_config(tmp_path, stored(CONFIG), now)


def test_a_checkpoint_from_before_a_key_existed_had_its_default(tmp_path: Path) -> None:
    old = stored(CONFIG)
    del old["texture"], old["device"]
    check_config(tmp_path, old, CONFIG)
    with pytest.raises(DataError, match=r"texture was 0\.0, is 0\.5"):
        check_config(tmp_path, old, replace(CONFIG, texture=0.5))


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / STATE)
    with pytest.raises(DataError, match="cannot be read"):
        read_state(tmp_path / STATE)
