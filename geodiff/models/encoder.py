"""Pixels of one cell to a unit vector: a small timm network trained without labels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from geodiff.models.directory import WIDEST
from geodiff.models.files import tidy
from geodiff.models.parts import UNREADABLE, filled, half, unreadable
from geodiff.models.torchvision_shim import ensure_torchvision


class CellNetwork(nn.Module):
    """A timm backbone whose last feature map is flattened, not pooled, into one vector.

    Flattening keeps where things lie in the cell, so that a street keeps its direction. The output
    is standardised per feature by running statistics (a batch norm without scale).
    """

    def __init__(self, network: str, dim: int, cell: int) -> None:
        super().__init__()
        ensure_torchvision()
        import timm

        self.trunk = timm.create_model(network, num_classes=0, global_pool="")
        with torch.no_grad():
            self.trunk.eval()
            shape = self.trunk(torch.zeros(1, 3, cell, cell)).shape
            self.trunk.train()
        self.head = nn.Linear(int(shape[1:].numel()), dim)
        self.norm = nn.BatchNorm1d(dim, affine=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 3, cell, cell) in -1..1 -> (batch, dim), about standard normal per feature."""
        features: torch.Tensor = self.trunk(images).flatten(1)
        standard: torch.Tensor = self.norm(self.head(features).float())
        return standard


@dataclass(frozen=True)
class Encoder:
    """A trained cell network. ``cell`` is in pixels, ``dim`` the length of an embedding."""

    net: CellNetwork
    network: str
    dim: int
    cell: int

    @torch.no_grad()
    def embed(self, pixels: torch.Tensor, batch: int = 16) -> torch.Tensor:
        """uint8 (n, 3, cell, cell) -> float32 unit vectors (n, dim) on the CPU.

        Batches have constant size, so a vector does not depend on what is embedded beside it.
        Raises ValueError for pixels of another size.
        """
        if tuple(pixels.shape[1:]) != (3, self.cell, self.cell):
            raise ValueError(
                f"the encoder wants (n, 3, {self.cell}, {self.cell}), got {tuple(pixels.shape)}"
            )
        device = next(self.net.parameters()).device
        vectors = []
        for start in range(0, len(pixels), batch):
            part = pixels[start : start + batch]
            padded = torch.zeros((batch, *part.shape[1:]), dtype=torch.uint8)
            padded[: len(part)] = part
            out = self.net(padded.to(device).float() / 127.5 - 1)[: len(part)]
            vectors.append(nn.functional.normalize(out, dim=1).cpu())
        return torch.cat(vectors) if vectors else torch.empty(0, self.dim)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.net.parameters())

    @property
    def fingerprint(self) -> str:
        """Short hash of the weights; embeddings of different fingerprints do not mix."""
        digest = hashlib.sha256()
        for name, value in sorted(self.net.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().to(torch.float16).numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write encoder.json and model.safetensors (half precision) into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"network": self.network, "dim": self.dim, "cell": self.cell}
        (folder / "encoder.json").write_text(json.dumps(facts, indent=1))
        save_file(half(self.net), folder / "model.safetensors")
        tidy(folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """Read what :meth:`save` wrote. Raises ModelError where parts are missing or misfit."""
        try:
            facts = json.loads((folder / "encoder.json").read_text())
            network, dim, cell = str(facts["network"]), int(facts["dim"]), int(facts["cell"])
            if not 1 <= cell <= WIDEST:
                raise ValueError(f"its cells are {cell} px: they must be 1 to {WIDEST}")
            net = filled(lambda: CellNetwork(network, dim, cell), folder / "model.safetensors")
        except UNREADABLE as error:
            raise unreadable("encoder", folder, error) from error
        return cls(net, network, dim, cell)
