"""The sampling modes: which windows, weights, noise levels, solver and guidance each one takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from geodiff.diffusion import (
    Denoise,
    Guided,
    Windowed,
    ancestral,
    dpmpp_2m,
    euler,
    flow_sigmas,
    gaussian,
    heun,
    published,
    tent,
    uniform,
)
from geodiff.errors import UsageError
from geodiff.geo.grid import PixelGrid
from geodiff.jobs.request import MODES
from geodiff.models.bundle import Model
from geodiff.window import Window

GUIDED_SIGMAS = (0.2, 5.0)
"""Noise levels between which guidance is on (Kynkäänniemi et al. 2024): the middle ones."""

NARROW_SIGMAS = (0.3, 3.0)
"""Those of the mode balanced: 31 % fewer evaluations with 12 steps, see docs/decisions.md."""

STEERED_SIGMAS = (0.05, 10.0)
"""Noise levels at which predictions are steered: chosen in docs/decisions.md."""

MIDDLE_SIGMAS = (0.1, 1.0)
"""Noise levels at which overlap helps most; the mode fast overlaps only there."""

WEIGHTS: dict[str, Callable[[int], Tensor]] = {
    "gaussian": gaussian, "tent": tent, "uniform": uniform
}  # fmt: skip
"""Weights of a window by name, see ``diffusion.blend``."""

SOLVERS = {"dpmpp_2m": dpmpp_2m, "euler": euler, "heun": heun}
"""Deterministic solvers by name; ``published`` is the paper's own with its own noise levels."""


@dataclass(frozen=True)
class Sampling:
    """Settings of one denoising pass and its decoding; sizes in latents.

    ``Sampling.of`` gives a mode's; ``dataclasses.replace`` changes one. Raises UsageError for
    weights or a solver that do not exist.
    """

    size: int  # side of a window
    stride: int  # between windows
    shifted: bool  # move the windows at every step
    steps: int  # solver steps
    guidance: float  # scale; 1 is none
    pad: int  # latents around the box, so that its edge is as well supported as its middle
    batch: int  # windows a network call
    middle_stride: int | None = None  # between windows at the levels of ``middle``; None: stride
    middle: tuple[float, float] = MIDDLE_SIGMAS  # lowest and highest of these noise levels
    weights: str = "tent"  # of a window where windows overlap, a key of WEIGHTS
    solver: str = "dpmpp_2m"  # a key of SOLVERS, or published
    guided: tuple[float, float] = GUIDED_SIGMAS  # noise levels with guidance: above, up to
    anchored: bool = False  # windows begin at the canvas's corner, not at the lattice's origin
    per_window: bool = False  # one embedding for each window instead of the dense field
    decode_stride: int | None = None  # None: decode exactly where the codec can; else blend windows
    decode_weights: str = "tent"  # of a decoded window where windows are blended
    taught: bool = False  # the network knows this guidance: one evaluation where it is on, not two
    steer: float = 0.0  # length of a step towards the asked embeddings, see models.probe; 0 is none
    steered: tuple[float, float] = STEERED_SIGMAS  # noise levels with steering: above, up to
    highest: float = 99.0  # noise level at which the solver starts; ``published`` has its own

    def __post_init__(self) -> None:
        for name, given, known in (
            ("solver", self.solver, (*SOLVERS, "published")),
            ("weights", self.weights, tuple(WEIGHTS)),
            ("decode_weights", self.decode_weights, tuple(WEIGHTS)),
        ):
            if given not in known:
                raise UsageError(f"{name} {given} is unknown; choose {', '.join(known)}")

    @classmethod
    def of(
        cls, mode: str, model: Model, steps: int | None, guidance: float | None, batch: int
    ) -> Sampling:
        """The settings of ``mode``; ``steps`` and ``guidance`` override it unless None.

        An odd ``batch`` becomes the next even one.
        Raises UsageError for a mode that does not exist.
        """
        # Odd batches of bf16 differ in the last bits when several threads work.
        base = settings(mode, model.window, model.guidance, batch + batch % 2)
        scale = base.guidance if guidance is None else guidance
        return replace(
            base,
            taught=base.solver != "published" and model.denoiser.knows(scale),
            steer=0.0 if base.per_window or model.probe is None else model.steer,
            steps=base.steps if steps is None else steps,
            guidance=scale,
            highest=model.denoiser.sigma_max,
        )

    @property
    def sigmas(self) -> Tensor:
        """Noise levels of the solver, float64 (steps + 1,), the last one 0."""
        if self.solver == "published":
            return published(self.steps)[0]
        return flow_sigmas(self.steps, t_max=self.highest / (1 + self.highest))

    @property
    def start(self) -> float:
        """What N(0, 1) noise is multiplied with at the start.

        The first noise level; the published sampler starts at N(0, 1) in variance preserving
        coordinates, ``x / sqrt(1 + sigma^2)``.
        """
        first = float(self.sigmas[0])
        return math.sqrt(1 + first**2) if self.solver == "published" else first

    @property
    def levels(self) -> list[float]:
        """Noise levels at which the solver asks the denoiser, in its order."""
        sigmas: list[float] = self.sigmas.tolist()
        if self.solver != "heun":
            return sigmas[:-1]
        return [level for pair in pairwise(sigmas[:-1]) for level in pair] + sigmas[-2:-1]

    @property
    def strides(self) -> tuple[int, ...]:
        """Latents between windows at each solver step."""
        low, high = self.middle
        close = self.stride if self.middle_stride is None else self.middle_stride
        levels = self.sigmas[:-1].tolist()
        return tuple(close if low <= sigma <= high else self.stride for sigma in levels)

    @property
    def between(self) -> int:
        """Latents between decoded windows that are blended: half of one unless a mode says.

        Under tent weights a window then weighs nothing at its border, and all of them add up to a
        constant: their lines cannot be told from others, see docs/decisions.md.
        """
        return self.decode_stride or max(1, self.size // 2)

    def canvas(self, grid: PixelGrid, factor: int) -> Window:
        """Latents to paint for ``grid``: those that cover it, padded, at least one window."""
        canvas = grid.latents(factor).pad(self.pad)
        height, width = max(canvas.height, self.size), max(canvas.width, self.size)
        return Window(canvas.row, canvas.col, height, width)

    def windowed(
        self, at: Callable[[Sequence[Window]], Denoise], canvas: Window, lanes: int = 1
    ) -> Windowed:
        """Fuse the windows of ``canvas`` whose conditions ``at`` binds."""
        return Windowed(
            at, canvas, self.size, self.strides, WEIGHTS[self.weights](self.size), self.sigmas,
            self.shifted, self.batch, self.anchor(canvas), lanes,
        )  # fmt: skip

    def anchor(self, canvas: Window) -> tuple[int, int]:
        """Row and column of the lattice at which an unshifted window of ``canvas`` begins."""
        return (canvas.row, canvas.col) if self.anchored else (0, 0)

    def solve(
        self, denoise: Denoise, x: Tensor, noise: Callable[[int], Tensor]
    ) -> Iterator[Tensor]:
        """x after every solver step; ``noise(step)`` is N(0, 1) of its shape where one is needed.

        x is a multiple of N(0, 1) noise, see ``start``.
        """
        if self.solver == "published":
            return ancestral(denoise, x, *published(self.steps), noise)
        return SOLVERS[self.solver](denoise, x, self.sigmas)

    def alike(self, canvas: Window) -> Window:
        """The canvas of the same size nearest to the origin that has as many windows.

        Windows repeat with their strides, so a lattice of charts has few that differ.
        """
        period = math.lcm(*self.strides, self.between)
        return Window(canvas.row % period, canvas.col % period, canvas.height, canvas.width)

    def windows(self, canvas: Window) -> int:
        """Windows of a step, rounded mean."""
        fuse, levels = self.windowed(unbound, canvas), self.levels
        return round(sum(fuse.evaluations(sigma) for sigma in levels) / len(levels))

    def evaluations(self, canvas: Window) -> int:
        """Network evaluations of one window in a whole pass.

        A guided one counts twice unless the network was taught guidance.
        """
        return sum(windows * times for windows, times in self._calls(canvas))

    def computed(self, canvas: Window) -> int:
        """``evaluations`` and those that fill up the last batch of a step: what takes the time."""
        batches = ((math.ceil(windows / self.batch), n) for windows, n in self._calls(canvas))
        return sum(count * self.batch * times for count, times in batches)

    def _calls(self, canvas: Window) -> Iterator[tuple[int, int]]:
        """For every call of the denoiser: its windows, and how often the network sees each."""
        fuse = self.windowed(unbound, canvas)
        guided = Guided(nothing, nothing, self.guidance, self.guided)
        for sigma in self.levels:
            yield fuse.evaluations(sigma), 2 if guided.active(sigma) and not self.taught else 1


def settings(mode: str, size: int, guidance: float, batch: int) -> Sampling:
    """A mode's settings for windows of ``size`` latents and a model's own guidance scale.

    ``paper`` is the published sampler (Graikos et al. 2024): its own noise levels and guidance,
    uniform averages at a quarter of a window, every window decoded by itself.
    """
    half, quarter, wide = size // 2, max(1, size // 4), max(1, 3 * size // 4)
    table = {
        "paper": Sampling(
            size, quarter, False, 50, 4.0, 0, batch,
            weights="uniform", solver="published", guided=(0.0, math.inf), anchored=True,
            per_window=True, decode_stride=quarter, decode_weights="gaussian",
        ),
        "quality": Sampling(size, half, False, 20, guidance, half, batch),
        "balanced": Sampling(size, wide, True, 12, guidance, quarter, batch, guided=NARROW_SIGMAS),
        "fast": Sampling(size, size, True, 10, guidance, quarter, batch, middle_stride=wide),
    }  # fmt: skip
    if mode not in table:
        raise UsageError(f"mode {mode} is unknown; choose {', '.join(MODES)}")
    return table[mode]


def nothing(x: Tensor, sigma: float) -> Tensor:
    """A denoiser that is counted, never called."""
    raise NotImplementedError


def unbound(windows: Sequence[Window]) -> Denoise:
    """Binds no conditions; for counting."""
    return nothing
