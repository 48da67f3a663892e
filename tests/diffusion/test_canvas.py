"""Large tensors lie in files and behave like any other."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from geodiff.diffusion import canvas
from geodiff.errors import OutputError

DTYPES = [torch.float32, torch.float16, torch.float64]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files; tensors above 64 bytes go there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(canvas, "IN_MEMORY", 64)
    yield tmp_path
    gc.collect()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (5, 7, 9), (1, 4, 33, 20)])
def test_a_tensor_in_a_file_is_a_tensor(
    folder: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    made = canvas.zeros(shape, dtype)
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert not made.any()
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    made += values
    assert torch.equal(made, values)
    torch.mul(values, 2, out=made)
    assert torch.equal(made, values * 2)
    assert canvas.zeros_like(made).shape == shape


def test_only_large_ones_go_to_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "gone"))
    assert canvas.zeros((16,)).shape == (16,)
    with pytest.raises(
        OutputError, match=r"in .*gone: No such file .*set TMPDIR to another folder"
    ):
        canvas.zeros((17,))


def test_nothing_is_left_in_the_folder(folder: Path) -> None:
    made = canvas.zeros((100, 100))
    assert list(folder.iterdir()) == []
    made += 1
    view = made[3:5]
    del made
    assert float(view.sum()) == 200  # the file lives as long as somebody looks at it


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_tensor_that_is_gone_gives_its_file_back(folder: Path) -> None:
    before = open_files()
    made = [canvas.zeros((100, 100)) for _ in range(3)]
    assert open_files() == before + 3
    del made
    gc.collect()
    assert open_files() == before


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="files are not reserved here")
def test_a_disk_without_room_is_an_error_at_once(folder: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        assert canvas.zeros((1000,)).shape == (1000,)
        with pytest.raises(OutputError, match=r"no temporary file of 4 MB in .*: File too large"):
            canvas.zeros((1 << 20,))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
