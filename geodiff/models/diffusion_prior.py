"""Embedding grids from words, labels or nothing: a diffusion model over windows of cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from geodiff.diffusion import Guided, Precondition, Windowed, dpmpp_2m, flow_sigmas
from geodiff.diffusion.blend import tent
from geodiff.diffusion.denoise import Denoise
from geodiff.diffusion.noise import plane
from geodiff.errors import ModelError, UsageError
from geodiff.models.parts import UNREADABLE, read_network, unreadable, write_network
from geodiff.models.prior_condition import Condition
from geodiff.models.prior_network import REFERENCE_GSD, CellTransformer
from geodiff.window import Window

CORE = 16
"""Cells along one side of a chart, the canonical piece in which a grid is sampled."""

FLOOR = 0.1
"""Share of the mean variance that is added to every direction before it is whitened."""


@dataclass(frozen=True)
class Whitening:
    """Embeddings to about standard normal numbers and back: ``(x - mean) @ axes / spread``.

    ``axes`` (dim, dim) are the principal directions in columns, ``spread`` (dim,) the root of their
    variance plus a floor, so that directions without content stay quiet.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32]) -> Whitening:
        """Of vectors (n, dim)."""
        values, axes = np.linalg.eigh(np.cov(vectors.T))
        spread: NDArray[np.float64] = np.sqrt(np.maximum(values, 0) + FLOOR * values.mean())
        return cls(vectors.mean(0), axes.astype(np.float32), spread.astype(np.float32))

    def there(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., dim) unit vectors -> whitened."""
        white: NDArray[np.float32] = (vectors - self.mean) @ self.axes / self.spread
        return white.astype(np.float32)

    def back(self, white: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whitened (..., dim) -> float32 unit vectors."""
        vectors = (white * self.spread) @ self.axes.T + self.mean
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return unit.astype(np.float32)


@dataclass(frozen=True)
class DiffusionPrior:
    """Windows of cells painted from noise and fused at every step, chart by chart.

    ``text`` names the sentence encoder whose vectors it understands ("" for none), ``labels`` the
    labels it was trained with. The other numbers are those of its sampler.
    """

    net: CellTransformer
    whitening: Whitening
    labels: tuple[str, ...] = ()
    text: str = ""
    steps: int = 16
    stride: int = 2  # cells between neighbouring windows
    halo: int = 6  # cells around a chart that are sampled with it and thrown away
    batch: int = 64  # windows a network call; part of what the values depend on
    interval: tuple[float, float] = field(default=(0.2, 5.0))  # sigmas at which it is guided

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.net.config["dim"])

    def sample(
        self,
        seed: int,
        cells: Window,
        condition: Condition | None = None,
        gsd: float = REFERENCE_GSD,
    ) -> NDArray[np.float32]:
        """Unit vectors float32 (row, col, feature) for a window of the lattice of cells.

        A pure function of seed, condition, ``gsd`` (metres per pixel of the mosaic) and cell
        position: overlapping windows agree to the bit. Raises UsageError for a condition that this
        prior does not understand.
        """
        self.check(condition)
        result = np.empty((*cells.shape, self.dim), np.float32)
        for piece in cells.tiles(CORE):
            chart = piece.snap(CORE)
            rows, cols = piece.within(cells)
            inner_rows, inner_cols = piece.within(chart)
            result[rows, cols] = self.chart(seed, chart, condition, gsd)[inner_rows, inner_cols]
        return result

    def chart(
        self, seed: int, chart: Window, condition: Condition | None, gsd: float
    ) -> NDArray[np.float32]:
        """One chart, sampled with its halo."""
        canvas, size = chart.pad(self.halo), int(self.net.config["window"])
        sigmas = flow_sigmas(self.steps)
        denoise = Windowed(
            at=partial(self.denoiser, canvas, self.asked(canvas, condition), gsd),
            canvas=canvas,
            size=size,
            strides=(self.stride,),
            weights=tent(size),
            sigmas=sigmas,
            batch=self.batch,
        )
        noise = torch.from_numpy(plane(seed, canvas, self.dim, "prior"))[None]
        *_, last = dpmpp_2m(denoise, noise * float(sigmas[0]), sigmas)
        rows, cols = chart.within(canvas)
        white = last[0, :, rows, cols].permute(1, 2, 0).numpy()
        return self.whitening.back(np.ascontiguousarray(white))

    def denoiser(
        self, canvas: Window, asked: Asked | None, gsd: float, windows: Sequence[Window]
    ) -> Denoise:
        """The clean windows expected behind noisy ones."""
        plain = Precondition(partial(self.velocity, gsd=gsd, asked=None))
        if asked is None:
            return plain
        there = asked.crop(canvas, windows)
        guided = Precondition(partial(self.velocity, gsd=gsd, asked=there))
        return Guided(guided, plain, asked.guidance, self.interval)

    @torch.no_grad()
    def velocity(self, noisy: Tensor, time: Tensor, gsd: float, asked: Asked | None) -> Tensor:
        """The network's answer, (batch, dim, row, col)."""
        given = () if asked is None else (asked.text, asked.told, asked.label)
        velocity: Tensor = self.net(noisy, time, torch.full((len(noisy),), gsd), *given)
        return velocity

    def check(self, condition: Condition | None) -> None:
        """Raises UsageError for words or labels that this prior does not understand."""
        for wish in () if condition is None else condition.wishes:
            if wish.text is not None and not self.text:
                raise UsageError(
                    "the model's prior was trained without texts: leave out --text, or give "
                    "another --model"
                )
            if wish.text is not None and len(wish.text) != self.net.config["text_dim"]:
                raise UsageError(
                    f"the text vector has {len(wish.text)} numbers, the prior wants "
                    f"{self.net.config['text_dim']} of {self.text}"
                )
            if wish.label is not None and wish.label not in self.labels:
                known = ", ".join(self.labels) or "none"
                raise UsageError(f"the prior knows no label {wish.label!r}; it knows {known}")

    def asked(self, canvas: Window, condition: Condition | None) -> Asked | None:
        """The wishes of a condition as tensors over ``canvas``."""
        if condition is None:
            return None
        numbers = torch.from_numpy(condition.numbers(canvas))
        none = np.zeros(max(1, self.net.config["text_dim"]), np.float32)
        rows = [none if wish.text is None else wish.text for wish in condition.wishes]
        table = torch.from_numpy(np.stack([*rows, none]))  # -1 is the last row, nothing
        told = torch.tensor([*(wish.text is not None for wish in condition.wishes), False])
        names = [0 if w.label is None else 1 + self.labels.index(w.label) for w in condition.wishes]
        return Asked(
            table[numbers], told[numbers], torch.tensor([*names, 0])[numbers], condition.guidance
        )

    def save(self, folder: Path) -> None:
        """Write prior.json, whitening.safetensors and the network in diffusers' layout."""
        write_network(self.net, folder)
        facts = {
            "kind": "diffusion", "text": self.text, "labels": list(self.labels),
            "steps": self.steps, "stride": self.stride, "halo": self.halo, "batch": self.batch,
            "interval": list(self.interval),
        }  # fmt: skip
        (folder / "prior.json").write_text(json.dumps(facts, indent=1))
        parts = {name: getattr(self.whitening, name) for name in ("mean", "axes", "spread")}
        save_file(
            {name: np.ascontiguousarray(part) for name, part in parts.items()},
            folder / "whitening.safetensors",
        )

    @classmethod
    def load(cls, folder: Path) -> DiffusionPrior:
        """Read what :meth:`save` wrote. Raises ModelError where parts are missing or misfit."""
        try:
            facts: dict[str, Any] = json.loads((folder / "prior.json").read_text())
            if facts.pop("kind") != "diffusion":
                raise ModelError(f"the prior in {folder} is of a kind this version does not know")
            net = read_network(CellTransformer, folder, "prior")
            whitening = Whitening(**load_file(folder / "whitening.safetensors"))
            labels, interval = tuple(facts.pop("labels")), tuple(facts.pop("interval"))
            known = net.config["labels"], net.config["dim"]
            if known != (len(labels), len(whitening.mean)):
                raise ValueError(
                    f"{len(labels)} labels and vectors of {len(whitening.mean)} do not fit a "
                    f"network for {known[0]} and {known[1]}"
                )
            return cls(net, whitening, labels, interval=interval, **facts)
        except UNREADABLE as error:
            raise unreadable("prior", folder, error) from error


@dataclass(frozen=True)
class Asked:
    """Wishes over a canvas or a batch of windows: text (.., row, col, text_dim), told, label."""

    text: Tensor
    told: Tensor
    label: Tensor
    guidance: float

    def crop(self, canvas: Window, windows: Sequence[Window]) -> Asked:
        """The same for windows of the canvas."""
        slices = [window.within(canvas) for window in windows]
        text, told, label = (
            torch.stack([values[rows, cols] for rows, cols in slices])
            for values in (self.text, self.told, self.label)
        )
        return Asked(text, told, label, self.guidance)
