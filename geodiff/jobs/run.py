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
from safetensors.torch import load_file, save_file

from geodiff.errors import DataError, GeodiffError
from geodiff.jobs.config import RunConfig
from geodiff.steps import Step

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
            value, figures = loss(self.step)
            if not bool(torch.isfinite(value)):
                raise GeodiffError(
                    f"the loss became {float(value)} at step {self.step}; the last good checkpoint "
                    f"is in {self.folder}. Lower learning_rate and start again"
                )
            value.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)
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
        os.replace(temporary, self.folder / "state.safetensors")
        (self.folder / "progress.json").write_text(json.dumps({"step": self.step}))

    @torch.no_grad()
    def resume(self) -> None:
        """Load the folder's checkpoint if there is one.

        Raises DataError when it belongs to a network of another shape.
        """
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        tensors = load_file(path)
        for name, parameter in self.parameters.items():
            stored = tensors.get(f"weight.{name}")
            if stored is None or stored.shape != parameter.shape:
                raise DataError(
                    f"the checkpoint {path} is of another configuration ({name} does not fit); "
                    "give another run folder or remove it"
                )
            parameter.copy_(stored)
            self.average[name].copy_(tensors[f"average.{name}"])
            self.optimiser.state[parameter] = {
                key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
            }
        for name, buffer in self.buffers.items():
            buffer.copy_(tensors[f"buffer.{name}"])
        self.step = json.loads((self.folder / "progress.json").read_text())["step"]
