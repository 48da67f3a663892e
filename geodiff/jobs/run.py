"""The training loop that codec, encoder and denoiser share: optimiser, averages, checkpoints."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geodiff.errors import DataError, GeodiffError
from geodiff.jobs.config import RunConfig
from geodiff.steps import Step

STATE = "state.safetensors"
"""Name of the checkpoint in a run's folder."""

Loss = Callable[[int], tuple[torch.Tensor, Mapping[str, float]]]
"""(step) -> (loss, figures): draws the batch of that step and computes its loss."""


def learning_rate(config: RunConfig, step: int) -> float:
    """Linear warm-up, a flat stretch, then a cosine fall to zero over the last ``decay``."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    start = config.steps * (1 - config.decay)
    if step <= start:
        return config.learning_rate * warm
    progress = (step - start) / max(1.0, config.steps - start)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Run:
    """Trainable weights, their running average and the optimiser, kept in a folder.

    The batch of a step is a pure function of (seed, step), so that a resumed run follows the same
    trajectory as one that was never stopped.
    """

    def __init__(self, net: Any, config: RunConfig) -> None:
        self.config = config
        self.folder = Path(config.run)
        self.step = 0
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

    def steps(self, loss: Loss, stage: str) -> Iterator[Step]:
        """Train to the end, saving checkpoints; yields figures every ``log_every`` steps."""
        self.resume()
        started, since = time.perf_counter(), self.step
        while self.step < self.config.steps:
            rate = learning_rate(self.config, self.step)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # for dropout
            value, figures = loss(self.step)
            self.require_finite("loss", value)
            value.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)
            self.require_finite("gradient", norm)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.update_average()
            self.step += 1
            if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                self.save()
            if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                pace = (self.step - since) * self.config.batch / (time.perf_counter() - started)
                shown = {
                    "loss": float(value.detach()),
                    "norm": float(norm),
                    "per_s": pace,
                    **figures,
                }
                yield Step(stage, self.step, self.config.steps, shown)

    def require_finite(self, what: str, value: torch.Tensor) -> None:
        """Raises GeodiffError, before the weights are touched, where a figure is not finite."""
        if bool(torch.isfinite(value)):
            return
        stored = "no checkpoint was written yet"
        if (self.folder / STATE).exists():
            stored = f"the last good checkpoint is in {self.folder}"
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

    def save(self) -> None:
        """Write a checkpoint (safetensors); replaced in one step, so it is never half-written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight.{n}": p.detach() for n, p in self.parameters.items()}
        tensors |= {f"buffer.{n}": b for n, b in self.buffers.items()}
        tensors |= {f"average.{n}": p for n, p in self.average.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"{key}.{name}"] = value
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        meta = {"step": str(self.step), "config": json.dumps(vars(self.config), sort_keys=True)}
        temporary = self.folder / "state.tmp"
        save_file(tensors, temporary, metadata=meta)
        os.replace(temporary, self.folder / STATE)
        (self.folder / "progress.json").write_text(json.dumps({"step": self.step}))

    @torch.no_grad()
    def resume(self) -> None:
        """Load the folder's checkpoint if there is one.

        Raises DataError when it is damaged or belongs to another network.
        """
        path = self.folder / STATE
        if not path.exists():
            return
        tensors, step = read_state(path)
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
            self.optimiser.state[parameter] = {"step": tensors[f"step.{name}"], **moments}
        for name, buffer in self.buffers.items():
            buffer.copy_(tensors[f"buffer.{name}"])
        self.step = step

    def fits(self, name: str, stored: Mapping[str, torch.Tensor]) -> bool:
        """Whether the parameter ``name`` stands on both sides with one shape."""
        parameter, other = self.parameters.get(name), stored.get(name)
        return parameter is not None and other is not None and parameter.shape == other.shape


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], int]:
    """Tensors of a checkpoint and the step it was written at. Raises DataError if damaged."""
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, int(meta["step"])
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise DataError(
            f"the checkpoint {path} cannot be read ({error}): remove it to start afresh"
        ) from error
