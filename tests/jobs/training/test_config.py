"""TOML fills a configuration strictly, and every mistake is named."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch

from geodiff.errors import UsageError
from geodiff.jobs.training.config import (
    CodecConfig,
    DenoiserConfig,
    EncoderConfig,
    PriorConfig,
    ProbeConfig,
    RunConfig,
)
from geodiff.jobs.training.filling import load_config
from geodiff.models.codec import new_autoencoder
from geodiff.models.denoiser import FieldUNet

PARTS = {"codec": "c", "encoder": "e"}
LEAST = 'datasets = ["a", "b"]\nrun = "r"\n'


@dataclass(frozen=True)
class Sample:
    """Numbers that may be left out."""

    size: int | None = None
    rate: float | None = None


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "train.toml"
    path.write_text(text)
    return path


def test_fills_types_as_declared(tmp_path: Path) -> None:
    text = LEAST + "widths = [8, 8, 16, 16]\nlearning_rate = 1\nweights = [1, 2.5]\nbf16 = false\n"
    config = load_config(CodecConfig, written(tmp_path, text))
    assert config.datasets == ("a", "b")
    assert config.widths == (8, 8, 16, 16)
    assert config.learning_rate == 1.0
    assert isinstance(config.learning_rate, float)
    assert config.weights == (1.0, 2.5)
    assert config.bf16 is False
    assert config.start_from is None


def test_overrides_win_unless_none(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST + 'steps = 5\nstart_from = "here"\n')
    config = load_config(CodecConfig, path, steps=7, run=None, datasets=("c",))
    assert (config.steps, config.run, config.datasets) == (7, "r", ("c",))
    assert config.start_from == "here"


def test_overrides_are_checked_as_well(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="steps should be int, got 'many'"):
        load_config(CodecConfig, written(tmp_path, LEAST), steps="many")


@pytest.mark.parametrize(
    "kind", [CodecConfig, EncoderConfig, DenoiserConfig, PriorConfig, ProbeConfig]
)
def test_unknown_key_lists_the_known_ones(tmp_path: Path, kind: type[Any]) -> None:
    with pytest.raises(UsageError, match="unknown key lerning_rate; known keys are") as caught:
        load_config(kind, written(tmp_path, LEAST + "lerning_rate = 1.0\n"))
    assert all(field.name in str(caught.value) for field in fields(kind))


def test_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing key run"):
        load_config(CodecConfig, written(tmp_path, 'datasets = ["a"]\n'))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("steps = 1.5", "steps should be int, got 1.5"),
        ("steps = true", "steps should be int, got True"),
        ("learning_rate = true", "learning_rate should be float, got True"),
        ('learning_rate = "fast"', "learning_rate should be float, got 'fast'"),
        ("bf16 = 1", "bf16 should be bool, got 1"),
        ("widths = [8, 1.5]", "widths should be int, got 1.5"),
        ("widths = 8", r"widths should be tuple\[int, \.\.\.\], got 8"),
        ("datasets = [1]", "datasets should be str, got 1"),
        ('datasets = "a"', r"datasets should be tuple\[str, \.\.\.\], got 'a'"),
        ("start_from = 3", r"start_from should be str \| None, got 3"),
    ],
)
def test_wrong_type_is_named(tmp_path: Path, line: str, message: str) -> None:
    text = "\n".join(old for old in LEAST.splitlines() if old[:3] != line[:3])
    with pytest.raises(UsageError, match=message) as caught:
        load_config(CodecConfig, written(tmp_path, f"{text}\n{line}\n"))
    assert str(tmp_path / "train.toml") in str(caught.value)


def test_optional_numbers_are_taken(tmp_path: Path) -> None:
    config = load_config(Sample, written(tmp_path, "size = 3\nrate = 2\n"))
    assert config == Sample(3, 2.0)


def test_missing_file_and_broken_toml(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the configuration .*: No such file"):
        load_config(CodecConfig, tmp_path / "none.toml")
    with pytest.raises(UsageError, match="is not valid TOML"):
        load_config(CodecConfig, written(tmp_path, "steps = \n"))
    (tmp_path / "train.toml").write_bytes(b'run = "\xff"')
    with pytest.raises(UsageError, match="is not valid TOML"):
        load_config(CodecConfig, tmp_path / "train.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ()}, "datasets is empty"),
        ({"weights": (1.0, 2.0)}, "2 weights for 1 datasets"),
        ({"weights": (0.0,)}, "must not be negative, nor all zero"),
        ({"steps": 0}, "must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate nan must be above 0"),
        ({"learning_rate": float("inf")}, "learning_rate inf must be above 0"),
        ({"clip": 0.0}, r"clip 0\.0 must be above 0"),
        ({"clip": -1.0}, r"clip -1\.0 must be above 0"),
        ({"seed": -1}, "seed -1 must be at least 0"),
        ({"weight_decay": -1.0}, r"weight_decay -1\.0 must be at least 0"),
        ({"run": ""}, "run is empty"),
        ({"ema": 1.0}, r"ema 1\.0 must be in 0\.\.1, below 1"),
    ],
)
def test_values_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunConfig(**{"datasets": ("a",), "run": "r"} | changes)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (CodecConfig, {"crop": 100}, "crop 100 must be a multiple of the codec's factor 8"),
        (EncoderConfig, {"batch": 1}, "batch 1 must be at least 2"),
        (DenoiserConfig, {}, "needs a trained codec and encoder"),
        (
            DenoiserConfig,
            {"codec": "c", "encoder": "e", "orientations": (1, 2)},
            r"orientations \(1, 2\) for 1 datasets",
        ),
        (
            DenoiserConfig,
            {"codec": "c", "encoder": "e", "orientations": (9,)},
            "give one number from 1 to 8",
        ),
        (PriorConfig, {"encoder": "e", "blocks": 7}, "8 blocks"),
        (CodecConfig, {"embedding": 0.1}, r"embedding = 0\.1 and encoder = None belong together"),
        (CodecConfig, {"encoder": "e"}, r"embedding = 0\.0 and encoder = e belong together"),
        (ProbeConfig, {"codec": "c"}, "a probe needs a trained codec and encoder"),
        (
            ProbeConfig,
            PARTS | {"orientations": (9,)},
            r"orientations \(9,\) for 1 datasets: give one",
        ),
        (ProbeConfig, PARTS | {"orientations": (1, 2)}, "or one a dataset"),
        (CodecConfig, {"channels": 0}, "channels 0 must be at least 1"),
        (CodecConfig, {"widths": (0, 8, 8)}, "two or more numbers from 1"),
        (CodecConfig, {"widths": (7, 9, 11)}, "9 comes after 7: it must be a multiple of 4"),
        (CodecConfig, {"channels": 3}, "channels 3 must divide the last of the widths"),
        (CodecConfig, {"decoder_layers": (-1,)}, r"decoder_layers \(-1,\) must be 4 numbers"),
        (CodecConfig, {"decoder_layers": (-1, 1, 1, 1)}, "at least 0 for the first and the last"),
        (CodecConfig, {"encoder_layers": (0, 0, 1, 1)}, r"encoder_layers \(0, 0, 1, 1\) must be"),
        (CodecConfig, {"encoder_layers": ()}, r"encoder_layers \(\) must be 4 numbers"),
        (CodecConfig, {"freeze_encoder": True}, "name that codec's folder in start_from"),
        (CodecConfig, {"l2": -1.0}, r"l2 -1\.0 must be at least 0"),
        (DenoiserConfig, PARTS | {"widths": (16, 16)}, "the last one at least 32"),
        (DenoiserConfig, PARTS | {"widths": (10, 20)}, "multiples of 16"),
        (DenoiserConfig, PARTS | {"widths": ()}, "multiples of 16"),
        (DenoiserConfig, PARTS | {"window": 0}, "window 0 must be at least 1"),
        (DenoiserConfig, PARTS | {"large_window": 0}, "large_window 0 must be at least 1"),
        (DenoiserConfig, PARTS | {"dropout": 2.0}, r"dropout 2\.0 must be in 0\.\.1, below 1"),
        (DenoiserConfig, PARTS | {"null": 2.0}, r"null 2\.0 must be in 0\.\.1"),
        (ProbeConfig, PARTS | {"noise": -0.1}, r"noise -0\.1 must be at least 0"),
        (ProbeConfig, PARTS | {"layers": 0}, "layers 0 must be at least 1"),
        (ProbeConfig, PARTS | {"widths": (8, 12)}, r"widths \(8, 12\) one or more multiples of 8"),
        (ProbeConfig, PARTS | {"widths": ()}, r"widths \(\) one or more multiples of 8"),
    ],
)
def test_values_that_make_no_sense_for_one_kind(
    kind: type[Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**{"datasets": ("a",), "run": "r"} | changes)


KINDS = {
    "codec": CodecConfig, "encoder": EncoderConfig, "denoiser": DenoiserConfig,
    "prior": PriorConfig, "probe": ProbeConfig, "decoder": CodecConfig,
    "finish": CodecConfig, "guidance": DenoiserConfig,
}  # fmt: skip
CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*/*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_configurations_that_come_along_are_valid(path: Path) -> None:
    load_config(KINDS[path.stem], path)


def test_the_decoder_learns_for_the_latents_of_the_codec() -> None:
    small = Path(__file__).parents[3] / "configs" / "naip-small"
    codec = load_config(CodecConfig, small / "codec.toml")
    decoder = load_config(CodecConfig, small / "decoder.toml")
    finish = load_config(CodecConfig, small / "finish.toml")
    assert finish.start_from == f"{decoder.run}/codec"
    assert decoder.freeze_encoder
    assert finish.freeze_encoder
    assert decoder.start_from == f"{codec.run}/codec"
    for key in ("channels", "widths", "encoder_layers", "decoder_layers"):
        assert getattr(decoder, key) == getattr(codec, key) == getattr(finish, key)


def test_the_denoiser_learns_guidance_from_itself() -> None:
    small = Path(__file__).parents[3] / "configs" / "naip-small"
    denoiser = load_config(DenoiserConfig, small / "denoiser.toml")
    guidance = load_config(DenoiserConfig, small / "guidance.toml")
    assert guidance.start_from == guidance.teacher == f"{denoiser.run}/denoiser"
    for key in ("datasets", "orientations", "codec", "encoder", "widths", "layers"):
        assert getattr(guidance, key) == getattr(denoiser, key)


def test_the_probe_reads_what_the_denoiser_encoded() -> None:
    small = Path(__file__).parents[3] / "configs" / "naip-small"
    denoiser = load_config(DenoiserConfig, small / "denoiser.toml")
    probe = load_config(ProbeConfig, small / "probe.toml")
    assert probe.cache == f"{denoiser.run}/cache"
    for key in ("datasets", "orientations", "codec", "encoder"):
        assert getattr(probe, key) == getattr(denoiser, key)


def test_base_is_of_the_size_that_it_says() -> None:
    base = Path(__file__).parents[3] / "configs" / "naip-base"
    denoiser = load_config(DenoiserConfig, base / "denoiser.toml")
    codec = load_config(CodecConfig, base / "codec.toml")
    encoder = load_config(EncoderConfig, base / "encoder.toml")
    with torch.device("meta"):
        nets = {
            "denoiser": FieldUNet(
                codec.channels, encoder.dim, denoiser.widths, denoiser.layers,
                denoiser.field_channels,
            ),
            "codec": new_autoencoder(
                codec.channels, codec.widths, codec.encoder_layers, codec.decoder_layers
            ),
        }  # fmt: skip
    for name, net in nets.items():
        millions = sum(p.numel() for p in net.parameters()) / 1e6
        told = (base / f"{name}.toml").read_text().split(" M weights")[0].removeprefix("# ")
        assert f"{millions:.1f}" == told
