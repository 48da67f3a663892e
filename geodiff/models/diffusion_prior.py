"""Embedding grids from words, labels or nothing: a diffusion model over windows of cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save_file
from torch import Tensor

from geodiff.diffusion import Guided, Precondition, Windowed, dpmpp_2m, flow_sigmas
from geodiff.diffusion.blend import tent
from geodiff.diffusion.denoise import Denoise
from geodiff.diffusion.noise import plane
from geodiff.errors import ModelError, UsageError
from geodiff.models.files import tidy
from geodiff.models.parts import UNREADABLE, read_network, unreadable, write_network
from geodiff.models.prior import AtlasPrior
from geodiff.models.prior_condition import Condition
from geodiff.models.prior_network import REFERENCE_GSD, CellTransformer
from geodiff.models.whitening import Whitening
from geodiff.window import Window

CORE = 16
"""Cells along one side of a chart, the canonical piece in which a grid is sampled."""

START = 0.0
"""Deviation of the noise on an atlas from which a grid without wishes begins; 0: atlas alone."""


@dataclass(frozen=True)
class DiffusionPrior:
    """Windows of cells painted from noise and fused at every step, chart by chart.

    What lies far apart is not seen in one window: without wishes a grid does not begin from mere
    noise but from the layout of an ``atlas`` (of cells of ``atlas_gsd`` metres per pixel) with
    noise of deviation ``start`` on top, which leaves of it what kind of place lies where (Meng et
    al. 2022, SDEdit, arXiv:2108.01073); with a start of 0 it is the atlas alone. ``text`` names the
    sentence encoder whose vectors it understands ("" for none), ``text_mark`` what tells it from
    others (empty: unknown), ``labels`` the labels it was trained with.
    The other numbers are those of its sampler.
    """

    net: CellTransformer
    whitening: Whitening
    labels: tuple[str, ...] = ()
    text: str = ""
    steps: int = 16
    stride: int = 3  # cells between neighbouring windows
    halo: int = 4  # cells around a chart that are sampled with it and thrown away
    batch: int = 32  # windows a network call; part of what the values depend on
    interval: tuple[float, float] = (0.2, 5.0)  # sigmas at which it is guided
    atlas: AtlasPrior | None = None
    atlas_gsd: float = REFERENCE_GSD
    start: float = START
    text_mark: tuple[float, ...] = ()

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
        if condition is None and self.start == 0 and self.atlas is not None and self.fits(gsd):
            return self.atlas.sample(seed, cells)
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
        layout = self.layout(seed, canvas, gsd) if condition is None else None
        high = 0.99 if layout is None else self.start / (1 + self.start)
        sigmas = flow_sigmas(self.steps, t_max=high)
        denoise = Windowed(
            at=partial(self.denoiser, canvas, self.asked(canvas, condition), gsd),
            canvas=canvas,
            size=size,
            strides=(self.stride,),
            weights=tent(size),
            sigmas=sigmas,
            batch=self.batch,
        )
        x = torch.from_numpy(plane(seed, canvas, self.dim, "prior"))[None] * float(sigmas[0])
        *_, last = dpmpp_2m(denoise, x if layout is None else x + layout, sigmas)
        rows, cols = chart.within(canvas)
        white = last[0, :, rows, cols].permute(1, 2, 0).numpy()
        return self.whitening.back(np.ascontiguousarray(white))

    def layout(self, seed: int, canvas: Window, gsd: float) -> Tensor | None:
        """Whitened cells of the atlas, (1, dim, row, col); None without one of this pixel size."""
        if self.atlas is None or self.start == 0 or not self.fits(gsd):
            return None
        cells = self.whitening.there(self.atlas.sample(seed, canvas))
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(cells, -1, 0)))[None]

    def fits(self, gsd: float) -> bool:
        """Whether the atlas is of about this pixel size."""
        return bool(abs(np.log2(gsd / self.atlas_gsd)) < 0.5)

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
            "interval": list(self.interval), "atlas_gsd": self.atlas_gsd, "start": self.start,
        }  # fmt: skip
        if self.text_mark:
            facts["text_mark"] = list(self.text_mark)
        if self.atlas is not None:
            self.atlas.save(folder / "atlas")
        (folder / "prior.json").write_text(json.dumps(facts, indent=1))
        parts = {name: getattr(self.whitening, name) for name in ("mean", "axes", "spread")}
        save_file(
            {name: np.ascontiguousarray(part) for name, part in parts.items()},
            folder / "whitening.safetensors",
        )
        tidy(folder / "whitening.safetensors")

    @classmethod
    def load(cls, folder: Path) -> DiffusionPrior:
        """Read what :meth:`save` wrote. Raises ModelError where parts are missing or misfit."""
        try:
            facts: dict[str, Any] = json.loads((folder / "prior.json").read_text())
            if facts.pop("kind") != "diffusion":
                raise ModelError(f"the prior in {folder} is of a kind this version does not know")
            net = read_network(CellTransformer, folder, "prior")
            whitening = Whitening(**load((folder / "whitening.safetensors").read_bytes()))
            labels, interval = tuple(facts.pop("labels")), tuple(facts.pop("interval"))
            facts["text_mark"] = tuple(map(float, facts.get("text_mark", ())))
            known = net.config["labels"], net.config["dim"]
            if known != (len(labels), len(whitening.mean)):
                raise ValueError(
                    f"{len(labels)} labels and vectors of {len(whitening.mean)} do not fit a "
                    f"network for {known[0]} and {known[1]}"
                )
            atlas = AtlasPrior.load(folder / "atlas") if (folder / "atlas").is_dir() else None
            if atlas is not None and atlas.dim != known[1]:
                raise ValueError(f"an atlas of {atlas.dim} features does not fit {known[1]}")
            return cls(net, whitening, labels, interval=interval, atlas=atlas, **facts)
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
