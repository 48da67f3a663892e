"""A model directory: model.toml beside the parts encoder, codec, denoiser and prior."""

from __future__ import annotations

import hashlib
import json
import logging
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geodiff.errors import ModelError, UsageError
from geodiff.models.casting import cast
from geodiff.models.codec import Codec
from geodiff.models.denoiser import Denoiser
from geodiff.models.encoder import Encoder
from geodiff.models.priors import Prior, load_prior
from geodiff.models.probe import Probe
from geodiff.models.shipped import shipped_path

log = logging.getLogger(__name__)

PARTS = ("encoder", "codec", "denoiser", "prior")

OPTIONAL = ("probe",)
"""Parts that a model may do without."""


@dataclass(frozen=True)
class Model:
    """All weights that a mosaic needs, and the facts of model.toml about them."""

    path: Path
    name: str
    encoder: Encoder
    codec: Codec
    denoiser: Denoiser
    prior: Prior  # on the CPU, whatever the device: one grid for all of them
    gsd: float  # metres per pixel of a mosaic whose resolution nobody asked for
    gsd_range: tuple[float, float]  # metres per pixel seen in training
    window: int  # latents a side of the windows that the denoiser paints
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
        """Load a model directory; None is the one shipped with the package.

        ``device`` is auto, cpu, cuda (or cuda:1, ...) or mps; ``precision`` of the denoiser
        and of decoding auto, bf16 or fp32. Raises UsageError for another word, ModelError for a
        device that is not there and where parts are missing or do not fit each other.
        """
        if precision not in ("auto", "bf16", "fp32"):
            raise UsageError(f"precision {precision!r} is unknown; choose auto, bf16 or fp32")
        folder = shipped_path() if path is None else Path(path)
        facts = read_facts(folder)
        target = choose_device(device)
        bf16 = precision == "bf16" or (precision == "auto" and has_bf16(target))
        encoder = Encoder.load(folder / "encoder")
        codec = Codec.load(folder / "codec", *latent_statistics(folder / "codec"))
        denoiser = Denoiser.load(folder / "denoiser", bf16)
        prior = load_prior(folder / "prior")
        probe = Probe.load(folder / "probe") if (folder / "probe").is_dir() else None
        check_fit(folder, encoder, codec, denoiser, prior, probe)
        halvings = 2 ** (len(denoiser.net.config["widths"]) - 1)
        if facts["window"] % halvings:
            raise ModelError(
                f"window {facts['window']} in {folder / 'model.toml'} is not a multiple of "
                f"{halvings}, which the denoiser needs"
            )
        cast(encoder.net, device=target)
        model = cls(
            path=folder,
            encoder=encoder,
            codec=codec.to(target).with_decoder_in(torch.bfloat16 if bf16 else torch.float32),
            denoiser=denoiser.to(target),
            prior=prior,
            probe=None if probe is None else probe.to(target, bf16),
            hash=digest(folder),
            **facts,
        )
        kind = "bf16" if bf16 else "fp32"
        log.info("model: %s, hash %s, %s on %s, %s", folder, model.hash, model.name, target, kind)
        log.debug("model: %s", model.facts())
        return model

    @property
    def cell(self) -> int:
        """Pixels along one side of a cell of the embedding grid."""
        return self.encoder.cell

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        device: torch.device = next(self.denoiser.net.parameters()).device
        return device

    def facts(self) -> dict[str, Any]:
        """What `geodiff info` shows, JSON-ready."""
        sizes = {
            part: sum(f.stat().st_size for f in (self.path / part).rglob("*") if f.is_file())
            for part in (*PARTS, *OPTIONAL)
            if (self.path / part).is_dir()
        }
        return {
            "name": self.name,
            "path": str(self.path),
            "hash": self.hash,
            "gsd": self.gsd,
            "gsd_range": list(self.gsd_range),
            "cell_px": self.cell,
            "embedding_dim": self.encoder.dim,
            "encoder": f"{self.encoder.network} ({self.encoder.fingerprint})",
            "codec": f"f{self.codec.factor}, {self.codec.channels} channels",
            "window_px": self.window * self.codec.factor,
            "denoiser_parameters": self.denoiser.parameters,
            "guidance": self.guidance,
            "guidance_taught": list(self.denoiser.taught or ()) or None,
            "steer": self.steer if self.probe is not None else 0.0,
            "text_encoder": self.prior.text or None,
            "labels": ", ".join(self.prior.labels) or None,
            "megabytes": {part: round(size / 1e6, 2) for part, size in sizes.items()},
            "device": str(self.device),
            "precision": "bf16" if self.denoiser.bf16 else "fp32",
            "credit": self.credit,
            "licence": self.licence,
        }


def read_facts(folder: Path) -> dict[str, Any]:
    """The table of model.toml, checked. Raises ModelError for what is missing or unknown."""
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise ModelError(f"the model directory {folder} {fault}")
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing or not (folder / "model.toml").exists():
        parts = ", ".join(([] if (folder / "model.toml").exists() else ["model.toml"]) + missing)
        raise ModelError(f"the model directory {folder} is not complete; missing: {parts}")
    try:
        table = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
        gsd, (low, high) = float(table["gsd"]), map(float, table["gsd_range"])
        if not (0 < low <= high < float("inf") and 0 < gsd < float("inf")):
            raise ValueError(f"gsd {gsd} with gsd_range {low} to {high}: give metres above 0")
        if int(table["window"]) < 1:
            raise ValueError(f"window {table['window']}: give latents, at least 1")
        if not 0 <= float(table.get("steer", 0.0)) < float("inf"):
            raise ValueError(f"steer {table['steer']}: give a number from 0")
        return {
            "name": str(table["name"]),
            "gsd": gsd,
            "gsd_range": (low, high),
            "window": int(table["window"]),
            "guidance": float(table["guidance"]),
            "steer": float(table.get("steer", 0.0)),
            "credit": str(table["credit"]),
            "licence": str(table["licence"]),
        }
    except (tomllib.TOMLDecodeError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / 'model.toml'} is not usable: {error!r}") from error


def latent_statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of raw latents per channel, from latents.json in a codec's folder."""
    path = folder / "latents.json"
    try:
        table = json.loads(path.read_text())
        return [float(value) for value in table["mean"]], [float(value) for value in table["std"]]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is not usable: {error!r}") from error


def check_fit(
    folder: Path,
    encoder: Encoder,
    codec: Codec,
    denoiser: Denoiser,
    prior: Prior,
    probe: Probe | None,
) -> None:
    """Raises ModelError unless the parts' sizes agree."""
    pairs: list[tuple[str, str, int, str, int]] = [
        ("embedding length", "encoder", encoder.dim, "denoiser", denoiser.net.config["dim"]),
        ("embedding length", "encoder", encoder.dim, "prior", prior.dim),
        ("channels", "codec", codec.channels, "denoiser", denoiser.net.config["channels"]),
        ("cell", "encoder", encoder.cell % codec.factor, "multiple of the codec's factor", 0),
    ]
    if probe is not None:
        pairs += [
            ("embedding length", "encoder", encoder.dim, "probe", probe.dim),
            ("channels", "codec", codec.channels, "probe", probe.channels),
            ("latents a cell", "encoder", encoder.cell // codec.factor, "probe", probe.side),
        ]
    for what, one, a, other, b in pairs:
        if a != b:
            raise ModelError(
                f"the parts in {folder} do not fit: {what} is {a} in {one}, {b} in {other}"
            )


def digest(folder: Path) -> str:
    """First 16 hex digits of a SHA-256 over the names and bytes of all files of the model."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md"):
        total.update(path.relative_to(folder).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


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
