"""Which class reads a part of a model, told by the class that its config.json names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from geodiff.errors import ModelError
from geodiff.models.directory import Directory, latent_statistics
from geodiff.models.parts import read_json
from geodiff.models.protocols import LatentCodec, WindowDenoiser

CODECS = {
    "AutoencoderDC": "geodiff.models.codec.Codec",
    "VQModel": "geodiff.models.vq_codec.VQCodec",
    "AutoencoderKL": "geodiff.models.kl_codec.KLCodec",
}
"""Class of a network -> ours, whose ``load(folder, mean, std)`` reads it."""

DENOISERS = {
    "FieldUNet": "geodiff.models.denoiser.Denoiser",
    "UNet2DConditionModel": "geodiff.models.token_denoiser.TokenDenoiser",
}
"""Class of a network -> ours, whose ``load(folder, bf16)`` reads it."""


def load_codec(folder: Path, mean: Sequence[float], std: Sequence[float]) -> LatentCodec:
    """Read a codec of any kind. Raises ModelError where parts are missing, misfit or unknown."""
    codec: LatentCodec = kind_of(folder, "codec", CODECS).load(folder, mean, std)
    return codec


def load_denoiser(folder: Path, bf16: bool) -> WindowDenoiser:
    """Read a denoiser of any kind. Raises ModelError where parts are missing, misfit, unknown."""
    denoiser: WindowDenoiser = kind_of(folder, "denoiser", DENOISERS).load(folder, bf16)
    return denoiser


def codec_of(place: Directory) -> LatentCodec:
    """The codec of a model, in either layout."""
    folder = place.path("codec")
    if not place.is_plain:
        return load_codec(folder, *latent_statistics(folder))
    from geodiff.models.plain import plain_statistics

    return load_codec(folder, *plain_statistics(folder))


def denoiser_of(place: Directory, bf16: bool) -> WindowDenoiser:
    """The denoiser of a model, in either layout."""
    folder = place.path("denoiser")
    if not place.is_plain:
        return load_denoiser(folder, bf16)
    from geodiff.models.plain import plain_denoiser

    return plain_denoiser(folder, place.folder / "scheduler", bf16)


def kind_of(folder: Path, part: str, kinds: dict[str, str]) -> Any:
    """The class of ours that reads ``folder``, imported only now."""
    named = read_json(folder / "config.json", part).get("_class_name")
    if named not in kinds:
        raise ModelError(
            f"the {part} in {folder} is a {named}, which this version cannot run; it runs "
            f"{', '.join(kinds)}"
        )
    module, _, name = kinds[named].rpartition(".")
    return getattr(import_module(module), name)
