"""A model directory is whole, fits together and is known by its bytes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geodiff.errors import ModelError, UsageError
from geodiff.models import shipped
from geodiff.models.bundle import PARTS, Model
from geodiff.models.parts import write_network
from geodiff.models.prior import AtlasPrior
from geodiff.models.probe import LatentNetwork, Probe
from tests.tiny import probed_model


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A model directory to spoil."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


def test_loads_what_was_written(model: Model) -> None:
    assert (model.name, model.gsd, model.gsd_range) == ("tiny", 0.6, (0.3, 1.0))
    assert (model.cell, model.window, model.guidance) == (16, 8, 1.5)
    assert model.device == torch.device("cpu")
    assert not model.denoiser.bf16


def test_facts_are_ready_for_json(model: Model) -> None:
    facts = json.loads(json.dumps(model.facts()))
    assert facts["precision"] == "fp32"
    assert facts["window_px"] == 64
    assert facts["embedding_dim"] == 8
    assert set(facts["megabytes"]) == set(PARTS)
    assert facts["hash"] == model.hash


def test_precision_is_as_asked(folder: Path) -> None:
    assert Model.load(folder, "cpu", "bf16").denoiser.bf16


def test_hash_is_that_of_the_content(model: Model, copy: Path) -> None:
    assert Model.load(copy).hash == model.hash
    (copy / "README.md").write_text("a card is no weight")
    assert Model.load(copy).hash == model.hash
    text = (copy / "model.toml").read_text()
    (copy / "model.toml").write_text(text.replace("guidance = 1.5", "guidance = 1.6"))
    assert Model.load(copy).hash != model.hash


@pytest.mark.parametrize("missing", [*PARTS, "model.toml"])
def test_what_is_missing_is_named(copy: Path, missing: str) -> None:
    path = copy / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(ModelError, match=f"not complete; missing: {missing}") as caught:
        Model.load(copy)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere does not exist"):
        Model.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "tiny"', "name = tiny"),
        ("window = 8", ""),
        ("gsd_range = [0.3, 1.0]", "gsd_range = [0.3]"),
        ("gsd = 0.6", 'gsd = "fine"'),
        ("gsd = 0.6", 'gsd = "nan"'),
        ("gsd_range = [0.3, 1.0]", "gsd_range = [1.0, 0.3]"),
        ("window = 8", "window = 0"),
        ("window = 8", "window = 8\nsteer = -0.1"),
        ("window = 8", "window = 8\nsteer = nan"),
        ("window = 8", 'window = 8\nsteer = "far"'),
    ],
)
def test_facts_that_make_no_sense_are_refused(copy: Path, old: str, new: str) -> None:
    text = (copy / "model.toml").read_text()
    assert old in text
    (copy / "model.toml").write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=r"model\.toml is not usable"):
        Model.load(copy)


@pytest.mark.parametrize("text", ["{", "{}", '{"mean": 0, "std": 1}', '{"mean": ["a"], "std": []}'])
def test_statistics_that_make_no_sense_are_refused(copy: Path, text: str) -> None:
    (copy / "codec" / "latents.json").write_text(text)
    with pytest.raises(ModelError, match=r"latents\.json is not usable"):
        Model.load(copy)


def test_parts_that_do_not_fit_are_refused(copy: Path) -> None:
    blocks = np.random.default_rng(0).standard_normal((9, 2, 2, 5)).astype(np.float32)
    AtlasPrior.fit(blocks).save(copy / "prior")
    with pytest.raises(ModelError, match="embedding length is 8 in encoder, 5 in prior"):
        Model.load(copy)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_weights_have_the_permissions_of_any_new_file(
    model: Model, tmp_path: Path, mask: int
) -> None:
    (tmp_path / ".tmpAbC123").touch()  # what a killed process left
    former = os.umask(mask)
    try:
        model.encoder.save(tmp_path)
        write_network(model.denoiser.net, tmp_path)
        AtlasPrior.fit(np.ones((9, 2, 2, 5), np.float32)).save(tmp_path)
    finally:
        os.umask(former)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}
    assert not (tmp_path / ".tmpAbC123").exists()


def test_a_probe_is_a_part_that_may_be_missing(model: Model, folder: Path, tmp_path: Path) -> None:
    assert (model.probe, model.steer) == (None, 0)
    probed = Model.load(probed_model(folder, tmp_path / "probed", steer=0.25), "cpu", "bf16")
    assert probed.probe is not None
    assert (probed.probe.dim, probed.probe.channels, probed.probe.side) == (8, 4, 2)
    assert (probed.probe.bf16, probed.steer) == (True, 0.25)
    assert set(probed.facts()["megabytes"]) == {*PARTS, "probe"}
    assert probed.hash != model.hash


@pytest.mark.parametrize(
    ("channels", "dim", "side", "message"),
    [
        (4, 9, 2, "embedding length is 8 in encoder, 9 in probe"),
        (5, 8, 2, "channels is 4 in codec, 5 in probe"),
        (4, 8, 4, "latents a cell is 2 in encoder, 4 in probe"),
    ],
)
def test_a_probe_that_does_not_fit_is_refused(
    copy: Path, channels: int, dim: int, side: int, message: str
) -> None:
    Probe(LatentNetwork(channels, dim, side, (8,))).save(copy / "probe")
    with pytest.raises(ModelError, match=message):
        Model.load(copy)


def test_a_probe_that_is_damaged_is_refused(copy: Path) -> None:
    (copy / "probe").mkdir()
    with pytest.raises(ModelError, match=r"the probe in .* cannot be loaded"):
        Model.load(copy)


def test_without_a_shipped_model_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    with pytest.raises(ModelError, match=r"ships no model .* give --model DIR"):
        Model.load(None)


@pytest.mark.parametrize("name", ["prior/extra.json", "prior/atlas.safetensors", "model.toml"])
def test_files_without_permission_are_one_line(copy: Path, name: str) -> None:
    path = copy / name
    path.touch()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ModelError, match=r"[Pp]ermission denied") as error:
        Model.load(copy)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ModelError, match="device cuda is not available"):
        Model.load(folder, device="cuda")


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "", 3])
def test_a_word_that_is_no_device_is_a_usage_error(folder: Path, device: Any) -> None:
    with pytest.raises(UsageError, match=f"device {device!r} is unknown; choose auto, cpu, cuda"):
        Model.load(folder, device=device)


def test_a_torch_device_is_a_device(folder: Path) -> None:
    assert Model.load(folder, device=torch.device("cpu")).device == torch.device("cpu")  # type: ignore[arg-type]


def test_a_word_that_is_no_precision_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="precision 'fp16' is unknown; choose auto, bf16 or fp32"):
        Model.load(folder, precision="fp16")


def test_loading_logs_what_was_loaded(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "geodiff"):
        model = Model.load(folder, device="cpu", precision="fp32")
    assert [record.message for record in caplog.records] == [
        f"model: {folder}, hash {model.hash}, tiny on cpu, fp32"
    ]


def test_a_window_that_the_denoiser_cannot_halve_is_refused(copy: Path) -> None:
    text = (copy / "model.toml").read_text().replace("window = 8", "window = 5")
    (copy / "model.toml").write_text(text)
    with pytest.raises(ModelError, match="not a multiple of 2"):
        Model.load(copy)
