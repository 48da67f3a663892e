"""Reading checkpoints: the same tensors that PyTorch and safetensors read, and nothing else."""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geodiff.errors import DataError
from geodiff.models.foreign.checkpoint import open_checkpoint


def tensors() -> dict[str, torch.Tensor]:
    """Types, shapes and views of many kinds."""
    torch.manual_seed(0)
    whole = torch.randn(6, 8)
    return OrderedDict(
        matrix=torch.randn(3, 4),
        number=torch.tensor(3.5),
        nothing=torch.zeros(0, 4),
        half=torch.randn(5).half(),
        brain=torch.randn(5).bfloat16(),
        double=torch.randn(2, 2, dtype=torch.float64),
        counts=torch.tensor([1, -2, 3]),
        small=torch.tensor([7, 8], dtype=torch.int32),
        bytes=torch.arange(4, dtype=torch.uint8),
        flags=torch.tensor([True, False]),
        parameter=torch.nn.Parameter(torch.randn(2, 3)),
        part=whole[2:4, 1:5],
        turned=whole.t(),
        same=whole,
    )


def save(state: Any, path: Path, legacy: bool = False) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_those_that_pytorch_reads(tmp_path: Path, legacy: bool) -> None:
    path = save({"state_dict": tensors()}, tmp_path / "a.ckpt", legacy)
    expected = torch.load(path, weights_only=True)["state_dict"]
    found = open_checkpoint(path)
    assert list(found.state) == list(expected)
    for name, value in expected.items():
        read = found.state[name].read()
        assert read.dtype == value.dtype
        assert read.is_contiguous()
        assert torch.equal(read, value), name
    assert found.beside == {}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols_of_pickle(tmp_path: Path, protocol: int) -> None:
    torch.save(tensors(), tmp_path / "a.ckpt", pickle_protocol=protocol)
    assert torch.equal(open_checkpoint(tmp_path / "a.ckpt").state["same"].read(), tensors()["same"])


def test_a_table_without_a_name_around_it(tmp_path: Path) -> None:
    found = open_checkpoint(save(tensors(), tmp_path / "a.pt"))
    assert set(found.state) == set(tensors())


def test_safetensors(tmp_path: Path) -> None:
    state = {name: value.detach().contiguous() for name, value in tensors().items()}
    state["part"] = state["part"].clone()
    del state["turned"], state["same"]
    save_file(state, tmp_path / "a.safetensors", metadata={"format": "pt"})
    found = open_checkpoint(tmp_path / "a.safetensors")
    assert set(found.state) == set(state)
    for name, value in state.items():
        assert torch.equal(found.state[name].read(), value), name


def test_safetensors_whose_first_byte_is_that_of_a_pickle(tmp_path: Path) -> None:
    """The file begins with the length of its header, and 128 is also what pickles begin with."""
    path = tmp_path / "a.safetensors"
    for filling in range(300):
        save_file({"a": torch.ones(3)}, path, metadata={"filling": "x" * filling})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert torch.equal(open_checkpoint(path).state["a"].read(), torch.ones(3))


@pytest.mark.parametrize("legacy", [False, True])
def test_what_training_programs_leave_behind_is_counted(tmp_path: Path, legacy: bool) -> None:
    net = torch.nn.Linear(3, 3)
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    inside = {
        "state_dict": net.state_dict(),
        "optimizer_states": [optimiser.state_dict()],
        "hyper_parameters": Namespace(rate=1e-4, sizes=torch.Size([1, 2]), kind=torch.float32),
        "callbacks": {torch.optim.Adam: {"best": np.float64(0.5), "at": torch.device("cpu")}},
        "folder": Path("runs"),
        "loops": defaultdict(list, a=[1, 2.5, None, True, b"raw", {"x"}, (1, ("y",))]),
        "epoch": 10**12,
    }
    found = open_checkpoint(save(inside, tmp_path / "a.ckpt", legacy))
    assert set(found.state) == {"weight", "bias"}
    assert found.beside.pop("optimizer_states") == 6  # two of each: step and both averages
    assert set(found.beside.values()) == {0}
    assert torch.equal(found.state["weight"].read(), net.weight)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no table of tensors"),
        ({"state_dict": {}}, "no table of tensors under state_dict"),
        ({"state_dict": {"a": 3}}, "'a' among its tensors is a int"),
        ({"epoch": 3}, "'epoch' among its tensors is a int"),
        ({"state_dict": {5: torch.zeros(1)}}, "'5' among its tensors"),
    ],
)
def test_files_without_a_table_of_tensors(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_checkpoint(save(content, tmp_path / "a.ckpt"))


def test_a_limit_of_size(tmp_path: Path) -> None:
    path = save({"a": torch.zeros(1000)}, tmp_path / "a.ckpt")
    open_checkpoint(path, largest=1e-5)
    for largest in (1e-6, float("nan")):
        with pytest.raises(DataError, match=f"over the limit of {largest:g} GB"):
            open_checkpoint(path, largest)


def test_a_part_of_a_storage_takes_no_more_memory_than_itself(tmp_path: Path) -> None:
    state = open_checkpoint(save(tensors(), tmp_path / "a.pt")).state
    for name in ("part", "same", "turned"):
        assert state[name].nbytes == tensors()[name].numel() * 4
        assert state[name].read().untyped_storage().nbytes() == state[name].nbytes
