"""A model: the parts encoder, codec, denoiser and prior, and the facts of model.toml about them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geodiff.errors import ModelError, UsageError
from geodiff.models.casting import cast
from geodiff.models.directory import OPTIONAL, PARTS, Directory, digest, latent_statistics
from geodiff.models.encoder import Encoder
from geodiff.models.kinds import codec_of, denoiser_of
from geodiff.models.locate import locate
from geodiff.models.priors import Prior, load_prior
from geodiff.models.probe import Probe
from geodiff.models.protocols import LatentCodec, WindowDenoiser

__all__ = [
    "OPTIONAL",
    "PARTS",
    "Model",
    "choose_device",
    "digest",
    "has_bf16",
    "latent_statistics",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """All weights that a mosaic needs, and the facts of model.toml about them."""

    path: Path
    name: str
    encoder_part: Encoder | None  # None: imported without one, embeddings come from elsewhere
    codec: LatentCodec
    denoiser: WindowDenoiser
    prior_part: Prior | None  # on the CPU, whatever the device: one grid for all of them
    gsd: float  # metres per pixel of a mosaic whose resolution nobody asked for
    gsd_range: tuple[float, float]  # metres per pixel seen in training
    window: int  # latents a side of the windows that the denoiser paints
    cell: int  # pixels along one side of a cell of the embedding grid
    guidance: float  # default guidance scale
    credit: str  # of the training imagery
    licence: str  # of the weights
    hash: str  # of every file in the directory
    probe: Probe | None = None  # what embeddings latents have; None: predictions are not steered
    steer: float = 0.0  # how far predictions are steered towards the asked embeddings, see Probe

    @classmethod
    def load(
        cls, path: str | Path | None = None, device: str = "auto", precision: str = "auto"
    ) -> Model:
        """Load a model: a directory, ``hub:org/name@revision``, None for the one in the package.

        ``device`` is auto, cpu, cuda (or cuda:1, ...) or mps; ``precision`` of the denoiser
        and of decoding auto, bf16 or fp32. Raises UsageError for another word, ModelError for a
        device that is not there and where parts are missing or do not fit each other.
        """
        if precision not in ("auto", "bf16", "fp32"):
            raise UsageError(f"precision {precision!r} is unknown; choose auto, bf16 or fp32")
        place = Directory(locate(path))
        facts = place.facts()
        target = choose_device(device)
        bf16 = precision == "bf16" or (precision == "auto" and has_bf16(target))
        encoder = Encoder.load(place.path("encoder")) if place.has("encoder") else None
        codec, denoiser = codec_of(place), denoiser_of(place, bf16)
        prior = load_prior(place.path("prior")) if place.has("prior") else None
        probe = Probe.load(place.path("probe")) if place.has("probe") else None
        if facts["cell"] is None and encoder is not None:
            facts["cell"] = encoder.cell
        check_fit(place.folder, facts, encoder, codec, denoiser, prior, probe)
        if encoder is not None:
            cast(encoder.net, device=target)
        model = cls(
            path=place.folder,
            encoder_part=encoder,
            codec=codec.to(target).with_decoder_in(torch.bfloat16 if bf16 else torch.float32),
            denoiser=denoiser.to(target),
            prior_part=prior,
            probe=None if probe is None else probe.to(target, bf16),
            hash=place.digest(),
            **facts,
        )
        kind = "bf16" if bf16 else "fp32"
        log.info(
            "model: %s, hash %s, %s on %s, %s", place.folder, model.hash, model.name, target, kind
        )
        log.debug("model: %s", model.facts())
        return model

    @property
    def encoder(self) -> Encoder:
        """Pixels of a cell to an embedding. Raises ModelError for a model without one."""
        if self.encoder_part is None:
            raise ModelError(
                f"the model {self.name} has no encoder, so it cannot go by images: give embeddings "
                f"of {self.dim} features for cells of {self.cell} px (--embeddings FILE)"
            )
        return self.encoder_part

    @property
    def prior(self) -> Prior:
        """Makes up embeddings. Raises ModelError for a model without one."""
        if self.prior_part is None:
            also = "" if self.encoder_part is None else ", or an image (--reference FILE)"
            raise ModelError(
                f"the model {self.name} has no prior, so it cannot go by words, polygons or "
                f"nothing: give embeddings (--embeddings FILE){also}"
            )
        return self.prior_part

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.denoiser.dim

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.denoiser.device

    @property
    def parameters(self) -> int:
        """Number of weights of the networks that turn images into mosaics."""
        encoder = 0 if self.encoder_part is None else self.encoder_part.parameters
        return encoder + self.codec.parameters + self.denoiser.parameters

    def facts(self) -> dict[str, Any]:
        """What `geodiff info` shows, JSON-ready."""
        encoder, prior = self.encoder_part, self.prior_part
        sizes = Directory(self.path).sizes()
        return {
            "name": self.name,
            "path": str(self.path),
            "hash": self.hash,
            "gsd": self.gsd,
            "gsd_range": list(self.gsd_range),
            "cell_px": self.cell,
            "embedding_dim": self.dim,
            "encoder": encoder and f"{encoder.network} ({encoder.fingerprint})",
            "codec": f"f{self.codec.factor}, {self.codec.channels} channels",
            "window_px": self.window * self.codec.factor,
            "denoiser_parameters": self.denoiser.parameters,
            "guidance": self.guidance,
            "guidance_taught": list(self.denoiser.taught or ()) or None,
            "steer": self.steer if self.probe is not None else 0.0,
            "text_encoder": (prior and prior.text) or None,
            "labels": (prior and ", ".join(prior.labels)) or None,
            "megabytes": {part: round(size / 1e6, 2) for part, size in sizes.items()},
            "device": str(self.device),
            "precision": "bf16" if self.denoiser.bf16 else "fp32",
            "credit": self.credit,
            "licence": self.licence,
        }


def check_fit(
    folder: Path,
    facts: dict[str, Any],
    encoder: Encoder | None,
    codec: LatentCodec,
    denoiser: WindowDenoiser,
    prior: Prior | None,
    probe: Probe | None,
) -> None:
    """Raises ModelError unless the parts' sizes agree with each other and with model.toml."""
    cell, toml = facts["cell"], "model.toml"
    pairs: list[tuple[str, str, int, str, int]] = [
        ("channels", "codec", codec.channels, "denoiser", denoiser.channels),
        ("cell", toml, cell % codec.factor, "multiple of the codec's factor", 0),
    ]
    if encoder is not None:
        pairs.insert(0, ("cell", "encoder", encoder.cell, toml, cell))
        pairs.insert(0, ("embedding length", "encoder", encoder.dim, "denoiser", denoiser.dim))
    if prior is not None:
        pairs.append(("embedding length", "encoder", denoiser.dim, "prior", prior.dim))
    if probe is not None:
        pairs += [
            ("embedding length", "encoder", denoiser.dim, "probe", probe.dim),
            ("channels", "codec", codec.channels, "probe", probe.channels),
            ("latents a cell", "encoder", cell // codec.factor, "probe", probe.side),
        ]
    for what, one, a, other, b in pairs:
        if a != b:
            raise ModelError(
                f"the parts in {folder} do not fit: {what} is {a} in {one}, {b} in {other}"
            )
    if facts["window"] % denoiser.multiple:
        raise ModelError(
            f"window {facts['window']} in {folder / toml} is not a multiple of "
            f"{denoiser.multiple}, which the denoiser needs"
        )


def choose_device(name: str) -> torch.device:
    """auto takes a GPU where there is one.

    Raises UsageError for a name that is none, ModelError for a device that is not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, colon, number = str(name).partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not number.isdecimal()):
        raise UsageError(f"device {name!r} is unknown; choose auto, cpu, cuda or mps")
    if (kind == "cuda" and not torch.cuda.device_count() > int(number or 0)) or (
        kind == "mps" and not mps
    ):
        raise ModelError(f"device {name} is not available here; use --device cpu or auto")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        abilities = torch.cpu.get_capabilities()
        return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
    return False
