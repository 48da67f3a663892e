"""The noise schedule in a checkpoint: one table, which all of its other buffers must follow."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from geodiff.diffusion.beta_table import MOST, BetaTable
from geodiff.errors import ModelError
from geodiff.models.foreign.project import Project
from geodiff.models.foreign.stored import Stored

TOLD = {"timesteps": 1000.0, "linear_start": 0.0015, "linear_end": 0.0195}
"""What a configuration says of the table, and the published values."""


def read_table(state: Mapping[str, Stored], project: Project) -> tuple[BetaTable, tuple[str, ...]]:
    """The table of betas, and the names of the buffers that say the same.

    Without such buffers it is what the configuration says, else the published one. Raises
    ModelError where buffers or configuration contradict each other, or are of another kind.
    """
    for key, known in (
        ("parameterization", "eps"), ("beta_schedule", "linear"), ("conditioning_key", "crossattn")
    ):  # fmt: skip
        project.agree(key, project.model.get(key), known)
    if "betas" not in state:
        told = [project.number(project.model, *one) for one in TOLD.items()]
        return made(int(told[0]), *told[1:]), ()
    if not 1 < state["betas"].count <= MOST:
        raise ModelError(f"the checkpoint's betas are {state['betas'].count} numbers: no schedule")
    betas = state["betas"].read().double().flatten()
    ends = [float(f"{float(betas[end]):.6g}") for end in (0, -1)]  # as they were before float32
    table = made(len(betas), *ends)
    for name, value in zip(TOLD, (table.steps, *ends), strict=True):
        project.agree(name, project.model.get(name), value)
    follows = buffers(table)
    names = tuple(name for name in follows if name in state)
    for name in names:
        near = 1e-4 if state[name].dtype in (torch.float32, torch.float64) else 2e-3
        if state[name].shape != follows[name].shape or not torch.allclose(
            state[name].read().double(), follows[name], near, near / 100
        ):
            raise ModelError(
                f"the checkpoint's {name} is not that of betas whose square roots run evenly from "
                f"{ends[0]:g} to {ends[1]:g}: other schedules are not run"
            )
    return table, names


def made(steps: int, *ends: float) -> BetaTable:
    """The table. Raises ModelError for numbers that make none."""
    try:
        return BetaTable(steps, *ends)
    except ValueError as error:
        raise ModelError(f"the checkpoint's betas are no schedule: {error}") from error


def buffers(table: BetaTable) -> dict[str, torch.Tensor]:
    """What follows from a table, by the names that checkpoints have for it: float64 (steps,).

    Ho et al. 2020 (DDPM, arXiv:2006.11239), equations 4, 7 and 15.
    """
    betas = table.betas
    kept = (1 - betas).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=kept.dtype), kept[:-1]])
    variance = betas * (1 - before) / (1 - kept)
    return {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - kept),
    }
