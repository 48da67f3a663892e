"""The training loop that codec, encoder and denoiser share: optimiser, averages, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from geodiff.errors import DataError, GeodiffError
from geodiff.geo.writing import WRITE_ERRORS
from geodiff.jobs.training.checkpoint import (
    STATE,
    check_config,
    read_state,
    run_failure,
    step_back,
    write_state,
)
from geodiff.jobs.training.config import RunConfig
from geodiff.jobs.training.figures import Figures
from geodiff.jobs.training.ranks import Ranks
from geodiff.steps import Step

Loss = Callable[[int], tuple[torch.Tensor, Mapping[str, float]]]
"""(step) -> (loss, figures): draws the batch of that step and computes its loss."""

After = Callable[[int], Iterator[Step]]
"""(step) -> what is to be done after that step, such as validating."""


def learning_rate(config: RunConfig, step: int) -> float:
    """Linear warm-up, a flat stretch, then a cosine fall to zero over the last ``decay``."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    start = config.steps * (1 - config.decay)
    if step <= start:
        return config.learning_rate * warm
    progress = (step - start) / max(1.0, config.steps - start)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def nothing(step: int) -> Iterator[Step]:
    """Nothing after a step."""
    yield from ()


class Run:
    """Trainable weights, their running average and the optimiser, kept in a folder.

    The batch of a step is a pure function of (seed, step), so that a resumed run follows the same
    trajectory as one that was never stopped, and several ranks the one of a single process. The
    network must be on the device of ``ranks`` already.
    """

    def __init__(self, net: Any, config: RunConfig, ranks: Ranks | None = None) -> None:
        self.config = config
        self.ranks = ranks or Ranks()
        self.folder = Path(config.run)
        self.step = 0
        self.begun: int | None = None  # step of the checkpoint that this run went on from
        self.record: Figures | None = None
        self.parameters: dict[str, torch.nn.Parameter] = {
            n: p for n, p in net.named_parameters() if p.requires_grad
        }
        self.buffers: dict[str, torch.Tensor] = dict(net.named_buffers())
        self.average = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.99),
            fused=True,
        )

    def steps(self, loss: Loss, stage: str, after: After = nothing) -> Iterator[Step]:
        """Train to the end, saving checkpoints; yields figures every ``log_every`` steps.

        What ``after`` yields after a step is told and recorded as well.
        """
        self.resume()
        self.ranks.agree(self.step)
        if self.step >= self.config.steps:
            return
        if self.ranks.lead:
            self.record = Figures(self.folder, self.step)
        started, since = time.perf_counter(), self.step
        try:
            while self.step < self.config.steps:
                told = self.advance(loss)
                last = self.step == self.config.steps
                if self.step % self.config.save_every == 0 or last:
                    self.save()
                if self.step % self.config.log_every == 0 or last:
                    seconds = time.perf_counter() - started
                    pace = (self.step - since) * self.config.batch / seconds
                    yield self.tell(stage, {**told(), "per_s": pace})
                for step in after(self.step):
                    yield self.tell(step.stage, step.figures)
        finally:
            if self.record is not None:
                self.record.close()

    def advance(self, loss: Loss) -> Callable[[], dict[str, float]]:
        """One step of the optimiser; its figures are computed when they are asked for."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, self.step)
        # For dropout; every rank drops something else.
        torch.manual_seed(config.seed * 1_000_003 + self.step + (self.ranks.rank << 40))
        value, figures = loss(self.step)
        shown = self.ranks.mean(value.detach())
        self.require_finite("loss", shown)
        value.backward()  # type: ignore[no-untyped-call]
        self.ranks.mean_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.clip)
        self.require_finite("gradient", norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.update_average()
        self.step += 1
        return lambda: {"loss": float(shown), "norm": float(norm), **figures}

    def tell(self, stage: str, figures: Mapping[str, float]) -> Step:
        """Record figures of this step; the step to yield."""
        if self.record is not None:
            self.record.log(self.step, stage, figures)
        return Step(stage, self.step, self.config.steps, figures)

    def picture(self, name: str, image: NDArray[np.uint8]) -> None:
        """Record a sheet of samples of this step, uint8 (row, col, 3)."""
        if self.record is not None:
            self.record.picture(self.step, name, image)

    def due(self, every: int) -> bool:
        """Whether something is to be done that is done every so many steps, and at the end."""
        return every > 0 and (self.step % every == 0 or self.step == self.config.steps)

    def require_finite(self, what: str, value: torch.Tensor) -> None:
        """Raises GeodiffError, before the weights are touched, where a figure is not finite."""
        if bool(torch.isfinite(value)):
            return
        stored = "no checkpoint was written yet"
        if self.begun == self.step:  # the weights were lost before they were written
            back = self.ranks.lead and step_back(self.folder)
            done = "the one before it took its place" if back else "remove it or give another --run"
            stored = f"the checkpoint in {self.folder} already leads to it: {done}"
        elif (self.folder / STATE).exists():
            stored = f"the last checkpoint is in {self.folder}"
        raise GeodiffError(
            f"the {what} became {float(value.detach())} at step {self.step}; {stored}. "
            "Lower learning_rate and start again"
        )

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the current ones, quicker at the start."""
        keep = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter.detach(), 1 - keep)

    @torch.no_grad()
    def use_average(self) -> None:
        """Put the averaged weights into the network."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.average[name])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in the network, and the training weights back afterwards."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.use_average()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(kept[name])

    @contextmanager
    def writing(self, part: Path) -> Iterator[None]:
        """Turn what goes wrong while a part is written into one OutputError."""
        try:
            yield
        except (*WRITE_ERRORS, SafetensorError) as error:
            raise run_failure(part, error) from error

    def save(self) -> None:
        """Write a checkpoint. Raises OutputError where there is no room; the former one stays."""
        if not self.ranks.lead:
            return
        tensors = {f"weight.{n}": p.detach() for n, p in self.parameters.items()}
        tensors |= {f"buffer.{n}": b for n, b in self.buffers.items()}
        tensors |= {f"average.{n}": p for n, p in self.average.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"{key}.{name}"] = value
        stored = {key: value.contiguous() for key, value in tensors.items()}
        write_state(self.folder, stored, self.step, self.config)

    @torch.no_grad()
    def resume(self) -> None:
        """Load the folder's checkpoint if there is one.

        Raises DataError when it is damaged or belongs to another network or configuration.
        """
        path = self.folder / STATE
        if not path.exists():
            return
        tensors, step, config = read_state(path)
        check_config(path, config, self.config)
        stored = {n[len("weight.") :]: t for n, t in tensors.items() if n.startswith("weight.")}
        misfit = [n for n in {**stored, **self.parameters} if not self.fits(n, stored)]
        misfit += [n for n in self.buffers if f"buffer.{n}" not in tensors]
        if misfit:
            raise DataError(
                f"the checkpoint {path} is of another configuration ({misfit[0]} does not fit); "
                "give another run folder or remove it"
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(stored[name])
            self.average[name].copy_(tensors[f"average.{name}"])
            # Fused AdamW walks through memory: moments must lie there as their parameter does.
            moments = {key: torch.empty_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            for key, moment in moments.items():
                moment.copy_(tensors[f"{key}.{name}"])
            count = tensors[f"step.{name}"].to(parameter.device)
            self.optimiser.state[parameter] = {"step": count, **moments}
        for name, buffer in self.buffers.items():
            buffer.copy_(tensors[f"buffer.{name}"])
        self.step = self.begun = step

    def fits(self, name: str, stored: Mapping[str, torch.Tensor]) -> bool:
        """Whether the parameter ``name`` stands on both sides with one shape."""
        parameter, other = self.parameters.get(name), stored.get(name)
        return parameter is not None and other is not None and parameter.shape == other.shape
